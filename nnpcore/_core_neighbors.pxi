# neighbors: see csrc/nnpcore.h
