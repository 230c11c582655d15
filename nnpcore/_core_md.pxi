# md: see csrc/nnpcore.h

from libc.stdint cimport uint32_t, uint64_t


cdef extern from "nnpcore.h":
    int NNP_MD_NVE, NNP_MD_LANGEVIN, NNP_MD_BUSSI, NNP_F64, NNP_F32
    ctypedef struct nnp_options:
        size_t size
        int n_threads
        int precision
        double skin
    void nnp_default_options(nnp_options* options) nogil

    ctypedef struct nnp_md:
        pass
    ctypedef struct nnp_md_options:
        size_t size
        int ensemble
        double dt
        double temperature
        double friction
        double tau
        uint64_t seed
        double f_max
        int64_t momentum_every
        int64_t virial_every
    ctypedef struct nnp_md_system:
        int n
        const int* species
        const double* x
        const double* v
        const double* mass
        const double* cell
        const int* pbc
    ctypedef struct nnp_md_state:
        int64_t step
        double heat
        double cell[9]
        double* x
        double* v
        double* x_list
        double* f
    ctypedef struct nnp_thermo:
        int64_t step
        double potential, kinetic, temperature, conserved, volume, pressure
        double stress[6]
    void nnp_md_default_options(nnp_md_options* options) nogil
    int nnp_md_new(const nnp_model* model, const nnp_options* options, const nnp_md_system* system,
                   const nnp_md_options* md_options, nnp_md** out) nogil
    void nnp_md_free(nnp_md* md) nogil
    int nnp_md_run(nnp_md* md, int64_t n_steps, const int* stop) nogil
    int nnp_md_get(nnp_md* md, nnp_md_state* state) nogil
    int nnp_md_set(nnp_md* md, const nnp_md_state* state) nogil
    int nnp_md_thermo(nnp_md* md, int want_stress, nnp_thermo* out) nogil
    int nnp_md_set_options(nnp_md* md, const nnp_md_options* md_options) nogil
    int nnp_md_rebuild(nnp_md* md) nogil
    int64_t nnp_md_n_builds(const nnp_md* md) nogil
    void nnp_md_outside(const nnp_md* md, int64_t* atoms, int64_t* functions) nogil
    int nnp_md_draw_velocities(nnp_md* md, double temperature) nogil
    int nnp_md_remove_momentum(nnp_md* md) nogil

    ctypedef struct nnp_rdf:
        pass
    int NNP_RDF_BLOCKS
    int nnp_rdf_new(int n_species, double r_max, int n_bins, nnp_rdf** out) nogil
    void nnp_rdf_free(nnp_rdf* rdf) nogil
    int nnp_rdf_add(nnp_rdf* rdf, int n, const int* species, const double* x, const double* cell, const int* pbc,
                    int n_threads) nogil
    int nnp_rdf_get(const nnp_rdf* rdf, int64_t* counts, int64_t* samples, double* inverse_volume) nogil
    int nnp_rdf_set(nnp_rdf* rdf, const int64_t* counts, int64_t samples, double inverse_volume) nogil
    int nnp_md_sample_rdf(nnp_md* md, nnp_rdf* rdf, int64_t every, int64_t start) nogil

cdef extern from "math/philox.h":
    void nnp_philox(uint32_t k0, uint32_t k1, uint32_t* c) nogil
    void nnp_philox_draw(uint64_t seed, uint64_t step, uint32_t tag, uint32_t stream, uint32_t draw,
                         uint32_t* bits) nogil
    void nnp_normal2(uint32_t a, uint32_t b, double* g0, double* g1) nogil


MD_ENSEMBLES = {"nve": NNP_MD_NVE, "langevin": NNP_MD_LANGEVIN, "bussi": NNP_MD_BUSSI}
MD_OPTIONS = ("ensemble", "dt", "temperature", "friction", "tau", "seed", "f_max", "momentum_every", "virial_every")


cdef nnp_md_options md_options(dict values) except *:
    cdef nnp_md_options o
    nnp_md_default_options(&o)
    for key, value in values.items():
        if key == "ensemble": o.ensemble = MD_ENSEMBLES[value]
        elif key == "dt": o.dt = value
        elif key == "temperature": o.temperature = value
        elif key == "friction": o.friction = value
        elif key == "tau": o.tau = value
        elif key == "seed": o.seed = value
        elif key == "f_max": o.f_max = value
        elif key == "momentum_every": o.momentum_every = value
        elif key == "virial_every": o.virial_every = value
        else: raise KeyError(key)
    return o


cdef class RDF:
    """nnp_rdf: pair counts by distance and species."""

    cdef nnp_rdf* ptr
    cdef readonly int n_species, n_bins
    cdef readonly double r_max

    def __cinit__(self, int n_species, double r_max, int n_bins):
        check(nnp_rdf_new(n_species, r_max, n_bins, &self.ptr))
        self.n_species, self.n_bins, self.r_max = n_species, n_bins, r_max

    def __dealloc__(self):
        nnp_rdf_free(self.ptr)

    def add(self, const int[::1] species not None, const double[:, ::1] x not None, const double[:, ::1] cell=None,
            const int[::1] pbc=None, int n_threads=0):
        """One frame: species [n], x [n, 3], cell [3, 3] or None, pbc [3] or None."""
        cdef int n = species.shape[0], status
        cdef const double* cell_ptr = NULL
        cdef const int* pbc_ptr = NULL
        cdef const int* species_ptr = NULL
        cdef const double* x_ptr = NULL
        if x.shape[0] != n or x.shape[1] != 3:
            raise ValueError("x must be [n, 3]")
        if cell is not None and (cell.shape[0] != 3 or cell.shape[1] != 3) or pbc is not None and pbc.shape[0] != 3:
            raise ValueError("cell must be [3, 3], pbc [3]")
        if cell is not None:
            cell_ptr = &cell[0, 0]
        if pbc is not None:
            pbc_ptr = &pbc[0]
        if n:
            species_ptr, x_ptr = &species[0], &x[0, 0]
        with nogil:
            status = nnp_rdf_add(self.ptr, n, species_ptr, x_ptr, cell_ptr, pbc_ptr, n_threads)
        check(status)

    def get(self):
        """(counts [NNP_RDF_BLOCKS, S, S, n_bins] int64, samples, sum of 1/V in A^-3)."""
        counts = np.empty((NNP_RDF_BLOCKS, self.n_species, self.n_species, self.n_bins), dtype=np.int64)
        cdef int64_t[:, :, :, ::1] view = counts
        cdef int64_t samples
        cdef double inverse_volume
        check(nnp_rdf_get(self.ptr, &view[0, 0, 0, 0], &samples, &inverse_volume))
        return counts, samples, inverse_volume

    def set(self, const int64_t[:, :, :, ::1] counts not None, int64_t samples, double inverse_volume):
        if (counts.shape[0] != NNP_RDF_BLOCKS or counts.shape[1] != self.n_species
                or counts.shape[2] != self.n_species or counts.shape[3] != self.n_bins):
            raise ValueError("counts must be [NNP_RDF_BLOCKS, n_species, n_species, n_bins]")
        check(nnp_rdf_set(self.ptr, &counts[0, 0, 0, 0], samples, inverse_volume))


cdef class MD:
    """nnp_md: one system under integration. One thread at a time."""

    cdef nnp_md* ptr
    cdef int stop_flag
    cdef bint busy
    cdef readonly int n
    cdef object model, rdf
    cdef dict values

    def __cinit__(self, Model model not None, const int[::1] species not None, const double[:, ::1] x not None,
                  const double[:, ::1] v=None, const double[::1] mass=None, const double[:, ::1] cell=None,
                  const int[::1] pbc=None, int n_threads=0, int precision=0, double skin=0, **options):
        cdef nnp_options o
        cdef nnp_md_system s
        cdef nnp_md_options m = md_options(options)
        cdef int status
        s.n = self.n = species.shape[0]
        if x.shape[0] != s.n or x.shape[1] != 3 or (v is not None and (v.shape[0] != s.n or v.shape[1] != 3)):
            raise ValueError("x and v must be [n, 3]")
        if mass is not None and mass.shape[0] != s.n:
            raise ValueError("mass must be [n]")
        if cell is not None and (cell.shape[0] != 3 or cell.shape[1] != 3) or pbc is not None and pbc.shape[0] != 3:
            raise ValueError("cell must be [3, 3], pbc [3]")
        s.species, s.x, s.v, s.mass, s.cell, s.pbc = NULL, NULL, NULL, NULL, NULL, NULL
        if s.n:
            s.species, s.x = &species[0], &x[0, 0]
        if s.n and v is not None:
            s.v = &v[0, 0]
        if s.n and mass is not None:
            s.mass = &mass[0]
        if cell is not None:
            s.cell = &cell[0, 0]
        if pbc is not None:
            s.pbc = &pbc[0]
        nnp_default_options(&o)
        o.n_threads, o.precision, o.skin = n_threads, precision, skin
        self.model, self.values = model, dict(options)
        with nogil:
            status = nnp_md_new(model.ptr, &o, &s, &m, &self.ptr)
        check(status)

    def __dealloc__(self):
        nnp_md_free(self.ptr)

    cdef int claim(self) except -1:
        if self.busy:
            raise RuntimeError("this simulation is running in another thread: one caller at a time")
        self.busy = True
        return 0

    def run(self, int64_t n_steps):
        """Advance; returns early after stop()."""
        cdef int status
        self.claim()
        with nogil:
            status = nnp_md_run(self.ptr, n_steps, &self.stop_flag)
        self.busy = False
        check(status)

    def stop(self, int flag=1):
        """Ask run() to return after the step under way; stop(0) takes it back."""
        self.stop_flag = flag

    @property
    def stopped(self):
        return self.stop_flag != 0

    @property
    def step(self):
        cdef nnp_md_state s
        s.x = s.v = s.x_list = s.f = NULL
        self.claim()
        cdef int status = nnp_md_get(self.ptr, &s)
        self.busy = False
        check(status)
        return s.step

    @property
    def outside(self):
        """(atoms, functions of atoms) outside the training range at the last forces"""
        cdef int64_t atoms = 0, functions = 0
        nnp_md_outside(self.ptr, &atoms, &functions)
        return atoms, functions

    @property
    def n_builds(self):
        return nnp_md_n_builds(self.ptr)

    @property
    def options(self):
        return dict(self.values)

    def set_options(self, **options):
        values = {**self.values, **options}
        cdef nnp_md_options m = md_options(values)
        self.claim()
        cdef int status = nnp_md_set_options(self.ptr, &m)
        self.busy = False
        check(status)
        self.values = values

    def get(self):
        """dict: step, heat, cell [3, 3], x, v, x_list, f, each [n, 3]."""
        cdef nnp_md_state s
        cdef int status
        cdef double[:, :, ::1] a = np.empty((4, max(self.n, 1), 3))
        s.x, s.v, s.x_list, s.f = &a[0, 0, 0], &a[1, 0, 0], &a[2, 0, 0], &a[3, 0, 0]
        self.claim()
        with nogil:
            status = nnp_md_get(self.ptr, &s)
        self.busy = False
        check(status)
        arrays = np.asarray(a)[:, :self.n]
        cell = np.array([s.cell[k] for k in range(9)]).reshape(3, 3)
        return {"step": s.step, "heat": s.heat, "cell": cell,
                "x": arrays[0].copy(), "v": arrays[1].copy(), "x_list": arrays[2].copy(), "f": arrays[3].copy()}

    def set(self, int64_t step, double heat, double[:, ::1] x not None, double[:, ::1] v not None,
            double[:, ::1] x_list=None):
        cdef nnp_md_state s
        cdef int status
        cdef double nothing[3]
        if x_list is None:
            x_list = x
        if not (x.shape[0] == v.shape[0] == x_list.shape[0] == self.n) or \
                not (x.shape[1] == v.shape[1] == x_list.shape[1] == 3):
            raise ValueError("x, v, x_list must be [n, 3]")
        s.step, s.heat = step, heat
        s.x = &x[0, 0] if self.n else nothing
        s.v = &v[0, 0] if self.n else nothing
        s.x_list = &x_list[0, 0] if self.n else NULL
        s.f = NULL
        self.claim()
        with nogil:
            status = nnp_md_set(self.ptr, &s)
        self.busy = False
        check(status)

    def thermo(self, bint stress=True):
        """dict in eV, K, A^3, eV/A^3; stress [6] Voigt."""
        cdef nnp_thermo t
        cdef int status
        self.claim()
        with nogil:
            status = nnp_md_thermo(self.ptr, stress, &t)
        self.busy = False
        check(status)
        return {"step": t.step, "potential": t.potential, "kinetic": t.kinetic, "temperature": t.temperature,
                "conserved": t.conserved, "volume": t.volume, "pressure": t.pressure,
                "stress": np.array([t.stress[k] for k in range(6)])}

    def draw_velocities(self, double temperature):
        self.claim()
        cdef int status = nnp_md_draw_velocities(self.ptr, temperature)
        self.busy = False
        check(status)

    def remove_momentum(self):
        self.claim()
        cdef int status = nnp_md_remove_momentum(self.ptr)
        self.busy = False
        check(status)

    def rebuild(self):
        cdef int status
        self.claim()
        with nogil:
            status = nnp_md_rebuild(self.ptr)
        self.busy = False
        check(status)

    def sample_rdf(self, RDF rdf, int64_t every=1, int64_t start=0):
        self.claim()
        cdef int status = nnp_md_sample_rdf(self.ptr, rdf.ptr if rdf is not None else NULL, every, start)
        self.busy = False
        check(status)
        self.rdf = rdf


def philox(uint32_t k0, uint32_t k1, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3):
    """Philox4x32-10 of one key and counter: four 32-bit numbers (for tests)."""
    cdef uint32_t c[4]
    c[0], c[1], c[2], c[3] = c0, c1, c2, c3
    nnp_philox(k0, k1, c)
    return c[0], c[1], c[2], c[3]


def normals(uint64_t seed, uint64_t step, uint32_t tag, uint32_t stream, uint32_t n):
    """[4 n] standard normal deviates of n draws (for tests)."""
    cdef double[:, ::1] out = np.empty((n, 4))
    cdef uint32_t bits[4]
    cdef uint32_t i
    for i in range(n):
        nnp_philox_draw(seed, step, tag, stream, i, bits)
        nnp_normal2(bits[0], bits[1], &out[i, 0], &out[i, 1])
        nnp_normal2(bits[2], bits[3], &out[i, 2], &out[i, 3])
    return np.asarray(out).ravel()
