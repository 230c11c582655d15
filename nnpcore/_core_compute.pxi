# Energies and forces: see csrc/nnpcore.h, sections workspace, energies and forces

cdef extern from "nnpcore.h":
    ctypedef struct nnp_workspace:
        pass
    ctypedef struct nnp_options:
        size_t size
        int n_threads
        int precision
        double skin
    ctypedef struct nnp_results:
        double* energy
        double* energies
        double* forces
        double* virial
        double* virials
    ctypedef struct nnp_neighbors:
        int n_rows
        const int* rows
        const int* count
        const int** index
        int mask
    int nnp_compute(const nnp_model* model, nnp_workspace* work, int n_total, const int* species, const double* x,
                    const nnp_neighbors* neighbors, const nnp_results* results) nogil
    void nnp_default_options(nnp_options* options) nogil
    const char* nnp_isa() nogil
    int nnp_workspace_new(const nnp_model* model, const nnp_options* options, nnp_workspace** out) nogil
    void nnp_workspace_free(nnp_workspace* work) nogil
    void nnp_workspace_outside(const nnp_workspace* work, int64_t* atoms, int64_t* functions) nogil
    int nnp_compute_cell(const nnp_model* model, nnp_workspace* work, int n, const int* species, const double* x,
                         const double* cell, const int* pbc, const nnp_results* results) nogil


def isa():
    """Instruction set in use: "baseline", "avx2" or "avx512"; NnpError if NNPCORE_ISA names none of these."""
    text = nnp_isa().decode()
    if text == "none":
        check(1)
    return text


cdef class Workspace:
    """Scratch of one caller: list, packed parameters. Keeps its model alive. Not for two threads at once."""

    cdef nnp_workspace* ptr
    cdef readonly Model model

    def __cinit__(self, Model model not None, int n_threads=0, int precision=0, double skin=0.0):
        cdef nnp_options options
        nnp_default_options(&options)
        options.n_threads = n_threads
        options.precision = precision
        options.skin = skin
        self.ptr = NULL
        self.model = model
        check(nnp_workspace_new(model.ptr, &options, &self.ptr))

    def __dealloc__(self):
        nnp_workspace_free(self.ptr)

    @property
    def outside(self):
        """(atoms, functions of atoms) outside the training range in the last evaluation"""
        cdef int64_t atoms = 0, functions = 0
        nnp_workspace_outside(self.ptr, &atoms, &functions)
        return atoms, functions

    def compute(self, const int[::1] species not None, const double[:, ::1] x not None, cell, const int[::1] pbc,
                bint forces=True, bint virials=False):
        """(energy, energies [n], forces [n,3] or None, virial [6], virials [n,9] or None)"""
        cdef int n = x.shape[0], status
        cdef const double[:, ::1] cell_view
        cdef const double* h = NULL
        cdef double energy = 0
        cdef double[::1] e, v
        cdef double[:, ::1] f, w
        cdef nnp_results r
        if species.shape[0] != n or x.shape[1] != 3 or pbc.shape[0] != 3:
            raise ValueError("species [n], x [n,3], pbc [3] expected")
        if cell is not None:
            cell_view = cell
            if cell_view.shape[0] != 3 or cell_view.shape[1] != 3:
                raise ValueError("cell [3,3] expected")
            h = &cell_view[0, 0]
        energies = np.zeros(n)
        virial = np.zeros(6)
        e = energies
        v = virial
        out_forces = np.zeros((n, 3)) if forces else None
        out_virials = np.zeros((n, 9)) if virials else None
        r.energy = &energy
        r.energies = r.forces = r.virials = NULL
        r.virial = &v[0]
        if n:
            r.energies = &e[0]
            if forces:
                f = out_forces
                r.forces = &f[0, 0]
            if virials:
                w = out_virials
                r.virials = &w[0, 0]
            with nogil:
                status = nnp_compute_cell(self.model.ptr, self.ptr, n, &species[0], &x[0, 0], h, &pbc[0], &r)
            check(status)
        return energy, energies, out_forces, virial, out_virials

    def compute_list(self, const int[::1] species not None, const double[:, ::1] x not None,
                     const int64_t[::1] first not None, const int[::1] index not None):
        """The host's way in (nnp_compute), for tests: rows 0 .. n_rows-1, row i's neighbours index[first[i]:first[i+1]],
        ghosts among the x [n_total,3]. (energy, energies [n_total], forces [n_total,3], virial [6], virials)"""
        cdef int n_total = x.shape[0], n_rows = first.shape[0] - 1, i, status
        cdef double energy = 0
        cdef nnp_neighbors list
        cdef nnp_results r
        cdef int[::1] count = np.zeros(max(n_total, 1), dtype=np.int32)
        cdef size_t[::1] pointers = np.zeros(max(n_total, 1), dtype=np.uintp)
        if species.shape[0] != n_total or x.shape[1] != 3 or not 0 <= n_rows <= n_total:
            raise ValueError("species [n_total], x [n_total,3], first [n_rows+1] expected")
        for i in range(n_rows):
            if not 0 <= first[i] <= first[i + 1] <= index.shape[0]:
                raise ValueError("first must ascend within index")
            count[i] = <int>(first[i + 1] - first[i])
            pointers[i] = <size_t>(&index[first[i]] if count[i] else NULL)
        cdef double[::1] e = np.zeros(max(n_total, 1)), v = np.zeros(6)
        cdef double[:, ::1] f = np.zeros((max(n_total, 1), 3)), w = np.zeros((max(n_total, 1), 9))
        list.n_rows, list.rows, list.count, list.mask = n_rows, NULL, &count[0], -1
        list.index = <const int**>&pointers[0]
        r.energy, r.energies, r.forces, r.virial, r.virials = &energy, &e[0], &f[0, 0], &v[0], &w[0, 0]
        with nogil:
            status = nnp_compute(self.model.ptr, self.ptr, n_total, &species[0], &x[0, 0], &list, &r)
        check(status)
        return energy, np.asarray(e), np.asarray(f), np.asarray(v), np.asarray(w)
