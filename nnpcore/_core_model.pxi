# model: see csrc/nnpcore.h

cdef extern from "nnpcore.h":
    ctypedef struct nnp_model:
        pass
    int nnp_model_load(const char* path, nnp_model** out) nogil
    int nnp_model_parse(const void* data, size_t size, nnp_model** out) nogil
    void nnp_model_free(nnp_model* model) nogil
    double nnp_model_cutoff(const nnp_model* model) nogil
    int nnp_model_n_species(const nnp_model* model) nogil
    const char* nnp_model_species(const nnp_model* model, int s) nogil
    double nnp_model_mass(const nnp_model* model, int s) nogil
    const char* nnp_model_units(const nnp_model* model) nogil
    int64_t nnp_model_n_parameters(const nnp_model* model) nogil
    const double* nnp_model_parameters(const nnp_model* model) nogil
    int nnp_model_n_fingerprints(const nnp_model* model, int s) nogil


cdef class Model:
    """Parsed .nnp file (bytes); never changes. Other parts of the binding use .ptr."""

    cdef nnp_model* ptr

    def __cinit__(self, const unsigned char[::1] data not None):
        cdef size_t size = data.shape[0]
        cdef const unsigned char* bytes = NULL
        cdef unsigned char nothing = 0
        cdef int status
        self.ptr = NULL
        bytes = &data[0] if size else &nothing
        with nogil:
            status = nnp_model_parse(bytes, size, &self.ptr)
        check(status)

    def __dealloc__(self):
        nnp_model_free(self.ptr)

    @property
    def cutoff(self):
        return nnp_model_cutoff(self.ptr)

    @property
    def species(self):
        return [nnp_model_species(self.ptr, s).decode() for s in range(nnp_model_n_species(self.ptr))]

    @property
    def mass(self):
        return [nnp_model_mass(self.ptr, s) for s in range(nnp_model_n_species(self.ptr))]

    @property
    def units(self):
        return nnp_model_units(self.ptr).decode()

    @property
    def n_fingerprints(self):
        return [nnp_model_n_fingerprints(self.ptr, s) for s in range(nnp_model_n_species(self.ptr))]

    @property
    def n_parameters(self):
        return nnp_model_n_parameters(self.ptr)

    def parameters(self):
        """theta [n_parameters], a copy."""
        cdef int64_t n = nnp_model_n_parameters(self.ptr)
        if n == 0:
            return np.empty(0)
        return np.array(<const double[:n]>nnp_model_parameters(self.ptr))


def check_file(path):
    """Load a file the way a C host does; its cutoff, or NnpError with the path in its text."""
    cdef bytes name = path
    cdef nnp_model* model = NULL
    check(nnp_model_load(name, &model))
    cutoff = nnp_model_cutoff(model)
    nnp_model_free(model)
    return cutoff
