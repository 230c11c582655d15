# model: see csrc/nnpcore.h
