# md: see csrc/nnpcore.h
