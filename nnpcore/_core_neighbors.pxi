# neighbors: nnp_neighbor_list_* of csrc/nnpcore.h; NeighList gives tests and benchmarks the private csrc/neigh.h

cdef extern from "nnpcore.h":
    ctypedef struct nnp_neighbor_list:
        pass
    int nnp_neighbor_list_new(int n, const double* x, const double* cell, const int* pbc, double cutoff,
                              int n_threads, nnp_neighbor_list** out) nogil
    void nnp_neighbor_list_free(nnp_neighbor_list* list) nogil
    int64_t nnp_neighbor_list_count(const nnp_neighbor_list* list) nogil
    int nnp_neighbor_list_pairs(const nnp_neighbor_list* list, int n_threads, int* i, int* j, double* d,
                                double* vectors, int* shifts) nogil

cdef extern from "neigh.h":
    ctypedef struct nnp_neigh:
        double cutoff
        int n, n_ghost, n_total
        int* order
        double* x
        int* owner
        double* shift
        int* image
        int64_t* first
        int* index
        double* x_built
    void nnp_neigh_init(nnp_neigh* list) nogil
    void nnp_neigh_clear(nnp_neigh* list) nogil
    int nnp_neigh_build(nnp_neigh* list, int n, const int* species, const double* x, const double* cell,
                        const int* pbc, double cutoff, int n_threads) nogil
    double nnp_neigh_refresh(nnp_neigh* list, const double* x, int n_threads) nogil
    double nnp_neigh_refresh_sorted(nnp_neigh* list, const double* x, int n_threads) nogil


def neighbor_pairs(str quantities, const double[:, ::1] x, const double[:, ::1] cell, const int[::1] pbc,
                   double cutoff, int n_threads):
    """dict of the arrays named in quantities (i j d D S); cell and pbc may be None."""
    cdef nnp_neighbor_list* nl = NULL
    cdef int n = x.shape[0], status
    cdef const double* px = &x[0, 0] if n else NULL
    cdef const double* pcell = NULL if cell is None else &cell[0, 0]
    cdef const int* ppbc = NULL if pbc is None else &pbc[0]
    cdef int[::1] i, j
    cdef double[::1] d
    cdef double[:, ::1] vectors
    cdef int[:, ::1] shifts
    cdef int64_t m
    with nogil:
        status = nnp_neighbor_list_new(n, px, pcell, ppbc, cutoff, n_threads, &nl)
    check(status)
    try:
        m = nnp_neighbor_list_count(nl)
        shape = {"i": (m,), "j": (m,), "d": (m,), "D": (m, 3), "S": (m, 3)}
        out = {q: np.empty(shape[q], np.intc if q in "ijS" else np.float64) for q in quantities}
        if m:
            i, j, d, vectors, shifts = (out.get(q) for q in "ijdDS")
            with nogil:
                status = nnp_neighbor_list_pairs(nl, n_threads, NULL if i is None else &i[0],
                                                 NULL if j is None else &j[0], NULL if d is None else &d[0],
                                                 NULL if vectors is None else &vectors[0, 0],
                                                 NULL if shifts is None else &shifts[0, 0])
            check(status)
        return out
    finally:
        nnp_neighbor_list_free(nl)


cdef class NeighList:
    """The list the core itself works with; arrays come as copies."""

    cdef nnp_neigh list

    def __cinit__(self):
        nnp_neigh_init(&self.list)

    def __dealloc__(self):
        nnp_neigh_clear(&self.list)

    def build(self, const double[:, ::1] x, const double[:, ::1] cell, const int[::1] pbc, double cutoff,
              int n_threads=1, const int[::1] species=None):
        cdef int n = x.shape[0], status
        cdef const double* px = &x[0, 0] if n else NULL
        cdef const double* pcell = NULL if cell is None else &cell[0, 0]
        cdef const int* ppbc = NULL if pbc is None else &pbc[0]
        cdef const int* kinds = NULL if species is None or n == 0 else &species[0]
        with nogil:
            status = nnp_neigh_build(&self.list, n, kinds, px, pcell, ppbc, cutoff, n_threads)
        check(status)

    def refresh(self, const double[:, ::1] x, int n_threads=1):
        assert x.shape[0] == self.list.n and x.shape[1] == 3
        if self.list.n == 0:
            return 0.0
        with nogil:
            moved = nnp_neigh_refresh(&self.list, &x[0, 0], n_threads)
        return moved

    def refresh_sorted(self, const double[:, ::1] x, int n_threads=1):
        assert x.shape[0] == self.list.n and x.shape[1] == 3
        if self.list.n == 0:
            return 0.0
        with nogil:
            moved = nnp_neigh_refresh_sorted(&self.list, &x[0, 0], n_threads)
        return moved

    @property
    def n_pairs(self):
        return self.list.first[self.list.n] if self.list.first != NULL else 0

    def arrays(self):
        """order x owner shift image first index x_built, as csrc/neigh.h describes them."""
        cdef nnp_neigh* s = &self.list
        return {
            "order": _copied(<char*>s.order, s.n, np.intc),
            "x": _copied(<char*>s.x, s.n_total * 4, np.float64).reshape(-1, 4),
            "owner": _copied(<char*>s.owner, s.n_ghost, np.intc),
            "shift": _copied(<char*>s.shift, s.n_total * 3, np.float64).reshape(-1, 3),
            "image": _copied(<char*>s.image, s.n_total * 3, np.intc).reshape(-1, 3),
            "first": _copied(<char*>s.first, s.n + 1 if s.first != NULL else 0, np.int64),
            "index": _copied(<char*>s.index, self.n_pairs, np.intc),
            "x_built": _copied(<char*>s.x_built, s.n * 3, np.float64).reshape(-1, 3),
        }


cdef _copied(const char* p, Py_ssize_t count, dtype):
    if count == 0 or p == NULL:
        return np.empty(0, dtype)
    return np.frombuffer(<const char[:count * np.dtype(dtype).itemsize]>p, dtype).copy()
