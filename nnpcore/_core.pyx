# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=True
"""One thin def per C function of csrc/nnpcore.h: no policy, no validation beyond what keeps memory safe.

Arrays arrive C-contiguous and of the right type; nnpcore/validate.py sees to that.
"""

from libc.stdint cimport int64_t

import numpy as np


cdef extern from "nnpcore.h":
    const char* nnp_last_error() nogil
    int nnp_version() nogil
    int nnp_max_threads() nogil
    int nnp_has_openmp() nogil


class NnpError(RuntimeError):
    """Failure in the C core: str(error) is nnp_last_error(), error.code an NNP_ERR_* number."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


cdef int check(int status) except -1:
    if status:
        text = nnp_last_error().decode("utf-8", "replace")
        if status == 2:
            raise MemoryError(text)
        raise NnpError(status, text)
    return 0


def version():
    """NNP_VERSION of the compiled core."""
    return nnp_version()


def max_threads():
    return nnp_max_threads()


def has_openmp():
    return bool(nnp_has_openmp())


include "_core_model.pxi"
include "_core_compute.pxi"
include "_core_neighbors.pxi"
include "_core_md.pxi"
include "_core_trainer.pxi"
