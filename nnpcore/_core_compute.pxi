# compute: see csrc/nnpcore.h
