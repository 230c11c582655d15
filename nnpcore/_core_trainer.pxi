# trainer: see csrc/nnpcore.h
