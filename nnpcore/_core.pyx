# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=True
"""One thin def per C function of csrc/nnpcore.h: no policy, no validation beyond what keeps memory safe."""

from libc.stdint cimport int64_t

import numpy as np


cdef extern from "nnpcore.h":
    const char* nnp_last_error() nogil
    int nnp_version() nogil
    int nnp_max_threads() nogil
    int nnp_has_openmp() nogil


def version():
    """NNP_VERSION of the compiled core."""
    return nnp_version()


def max_threads():
    return nnp_max_threads()


def has_openmp():
    return bool(nnp_has_openmp())
