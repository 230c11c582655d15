# Loss gradient: see csrc/nnpcore.h, section loss gradient

cdef extern from "nnpcore.h":
    ctypedef struct nnp_trainer:
        pass
    ctypedef struct nnp_loss:
        size_t size
        int kind
        double w_energy, w_force, w_stress
        double delta_energy, delta_force, delta_stress
    ctypedef struct nnp_labels:
        const double* energy
        const double* forces
        const double* stress
        double weight
    int nnp_trainer_new(const nnp_model* model, const nnp_options* options, nnp_trainer** out) nogil
    void nnp_trainer_free(nnp_trainer* trainer) nogil
    int nnp_trainer_add(nnp_trainer* trainer, int n, const int* species, const double* x, const double* cell,
                        const int* pbc, const nnp_labels* labels) nogil
    int nnp_trainer_n_frames(const nnp_trainer* trainer) nogil
    size_t nnp_trainer_bytes(const nnp_trainer* trainer) nogil
    int nnp_trainer_gradient(nnp_trainer* trainer, const double* theta, const nnp_loss* loss, int n_batch,
                             const int* frames, double* terms, double* grad) nogil
    int nnp_trainer_sketch(nnp_trainer* trainer, const double* theta, const nnp_loss* loss, int n_batch,
                           const int* frames, uint64_t seed, double* rows) nogil
    int nnp_trainer_keep(nnp_trainer* trainer, size_t max_bytes, size_t* used) nogil
    int nnp_trainer_jacobian(nnp_trainer* trainer, const double* theta, int frame, int n_rows, const int* rows,
                             float* out) nogil
    int nnp_kalman_step(int n_blocks, const int* edges, float* covariance, int m, const float* h,
                        const double* residual, double noise, double* step, int n_threads) nogil
    int nnp_rotate(int n, const float* q, const float* x, float* y, int transpose, int n_threads) nogil
    int nnp_trainer_predict(nnp_trainer* trainer, const double* theta, int n_batch, const int* frames,
                            double* energies, double* forces, double* stresses) nogil
    int nnp_trainer_fingerprints(nnp_trainer* trainer, const double* theta, int frame, double* out) nogil


cdef class Trainer:
    """Frames with labels, and the gradient of the loss over batches of them. precision: 0 float64, 1 float32."""

    cdef nnp_trainer* ptr
    cdef readonly Model model
    cdef list sizes

    def __cinit__(self, model, int n_threads=0, int precision=0):
        cdef nnp_options options
        self.ptr = NULL
        self.model = model if isinstance(model, Model) else Model(model)
        self.sizes = []
        nnp_default_options(&options)
        options.n_threads = n_threads
        options.precision = precision
        check(nnp_trainer_new(self.model.ptr, &options, &self.ptr))

    def __dealloc__(self):
        nnp_trainer_free(self.ptr)

    @property
    def n_frames(self):
        return nnp_trainer_n_frames(self.ptr)

    @property
    def n_parameters(self):
        return self.model.n_parameters

    @property
    def bytes(self):
        return nnp_trainer_bytes(self.ptr)

    def add(self, const int[::1] species not None, const double[:, ::1] x not None, cell, const int[::1] pbc not None,
            energy=None, forces=None, stress=None, double weight=1.0):
        """Number of the new frame. cell [3,3] or None; energy eV; forces [n,3] eV/A; stress [6] eV/A^3, Voigt."""
        cdef int n = x.shape[0], status
        cdef const double[:, ::1] cell_view, force_view
        cdef const double[::1] stress_view
        cdef const double* h = NULL
        cdef double e = 0
        cdef nnp_labels labels
        if n == 0 or species.shape[0] != n or x.shape[1] != 3 or pbc.shape[0] != 3:
            raise ValueError("species [n], x [n,3] with n > 0, pbc [3] expected")
        labels.energy = labels.forces = labels.stress = NULL
        labels.weight = weight
        if cell is not None:
            cell_view = cell
            if cell_view.shape[0] != 3 or cell_view.shape[1] != 3:
                raise ValueError("cell [3,3] expected")
            h = &cell_view[0, 0]
        if energy is not None:
            e = energy
            labels.energy = &e
        if forces is not None:
            force_view = forces
            if force_view.shape[0] != n or force_view.shape[1] != 3:
                raise ValueError("forces [n,3] expected")
            labels.forces = &force_view[0, 0]
        if stress is not None:
            stress_view = stress
            if stress_view.shape[0] != 6:
                raise ValueError("stress [6] expected")
            labels.stress = &stress_view[0]
        with nogil:
            status = nnp_trainer_add(self.ptr, n, &species[0], &x[0, 0], h, &pbc[0], &labels)
        check(status)
        self.sizes.append(n)
        return len(self.sizes) - 1

    cdef int _check_theta(self, const double[::1] theta, const int[::1] frames) except -1:
        if theta.shape[0] != nnp_model_n_parameters(self.model.ptr):
            raise ValueError("theta [n_parameters] expected")
        if frames.shape[0] == 0:
            raise ValueError("an empty batch")
        return 0

    def gradient(self, const double[::1] theta not None, const int[::1] frames not None, int kind=0,
                 double w_energy=1.0, double w_force=1.0, double w_stress=0.0, double delta_energy=1.0,
                 double delta_force=1.0, double delta_stress=1.0, bint with_gradient=True):
        """(terms [4]: total, energy, force, stress;  gradient [n_parameters], or None). Loss: csrc/nnpcore.h."""
        cdef nnp_loss loss
        cdef double[::1] t, g
        cdef double* grad = NULL
        cdef int status, n = frames.shape[0]
        self._check_theta(theta, frames)
        loss.size = sizeof(nnp_loss)
        loss.kind = kind
        loss.w_energy, loss.w_force, loss.w_stress = w_energy, w_force, w_stress
        loss.delta_energy, loss.delta_force, loss.delta_stress = delta_energy, delta_force, delta_stress
        terms = np.empty(4)
        t = terms
        out = np.empty(self.n_parameters) if with_gradient else None
        if with_gradient:
            g = out
            grad = &g[0]
        with nogil:
            status = nnp_trainer_gradient(self.ptr, &theta[0], &loss, n, &frames[0], &t[0], grad)
        check(status)
        return terms, out

    def sketch(self, const double[::1] theta not None, const int[::1] frames not None, uint64_t seed,
               double w_energy=1.0, double w_force=1.0, double w_stress=0.0):
        """h [n_batch, n_parameters]: one random projection of each frame's residuals' Jacobian. csrc/nnpcore.h."""
        cdef nnp_loss loss
        cdef double[:, ::1] h
        cdef int status, n = frames.shape[0]
        self._check_theta(theta, frames)
        loss.size = sizeof(nnp_loss)
        loss.kind = 0
        loss.w_energy, loss.w_force, loss.w_stress = w_energy, w_force, w_stress
        loss.delta_energy = loss.delta_force = loss.delta_stress = 1
        rows = np.empty((n, self.n_parameters))
        h = rows
        with nogil:
            status = nnp_trainer_sketch(self.ptr, &theta[0], &loss, n, &frames[0], seed, &h[0, 0])
        check(status)
        return rows

    def keep(self, size_t max_bytes):
        """Keep symmetry functions and their derivatives of the frames so far, up to max_bytes; bytes that are kept."""
        cdef int status
        cdef size_t used = 0
        with nogil:
            status = nnp_trainer_keep(self.ptr, max_bytes, &used)
        check(status)
        return used

    def jacobian(self, const double[::1] theta not None, int frame, const int[::1] rows not None):
        """float32 [n_rows, n_parameters]: d prediction/dtheta of a frame of n atoms; row 3 i + c is force c on atom i,
        3 n the energy, 3 n + 1 .. 3 n + 6 the stress."""
        cdef int status, n = rows.shape[0]
        cdef float[:, ::1] h
        if not 0 <= frame < len(self.sizes):
            raise IndexError(f"frame {frame} of {len(self.sizes)}")
        self._check_theta(theta, rows)
        out = np.empty((n, self.n_parameters), dtype=np.float32)
        h = out
        with nogil:
            status = nnp_trainer_jacobian(self.ptr, &theta[0], frame, n, &rows[0], &h[0, 0])
        check(status)
        return out

    def predict(self, const double[::1] theta not None, const int[::1] frames not None):
        """(energies [n_batch], forces [sum n,3], stresses [n_batch,6] Voigt) of the frames, one after the other."""
        cdef int status, n = frames.shape[0]
        cdef double[::1] e
        cdef double[:, ::1] f, s
        self._check_theta(theta, frames)
        total = 0
        for i in range(n):
            if not 0 <= frames[i] < len(self.sizes):
                raise IndexError(f"frame {frames[i]} of {len(self.sizes)}")
            total += self.sizes[frames[i]]
        energies, forces, stresses = np.empty(n), np.empty((total, 3)), np.empty((n, 6))
        e, f, s = energies, forces, stresses
        with nogil:
            status = nnp_trainer_predict(self.ptr, &theta[0], n, &frames[0], &e[0], &f[0, 0], &s[0, 0])
        check(status)
        return energies, forces, stresses

    def fingerprints(self, const double[::1] theta not None, int frame):
        """Network inputs G [n, most inputs of any species] of one frame; rows of other species are padded with 0."""
        cdef double[:, ::1] g
        cdef int status
        if not 0 <= frame < len(self.sizes):
            raise IndexError(f"frame {frame} of {len(self.sizes)}")
        if theta.shape[0] != nnp_model_n_parameters(self.model.ptr):
            raise ValueError("theta [n_parameters] expected")
        out = np.zeros((self.sizes[frame], max(self.model.n_fingerprints)))
        g = out
        with nogil:
            status = nnp_trainer_fingerprints(self.ptr, &theta[0], frame, &g[0, 0])
        check(status)
        return out


def rotate(const float[:, ::1] q not None, const float[::1] x not None, bint transpose=False, int n_threads=0):
    """q x, or q^T x: float32 [n], of q [n,n] and x [n]."""
    cdef int n = x.shape[0], status
    cdef float[::1] y
    if q.shape[0] != n or q.shape[1] != n:
        raise ValueError("q [n,n], x [n] expected")
    out = np.empty(n, dtype=np.float32)
    if n:
        y = out
        with nogil:
            status = nnp_rotate(n, &q[0, 0], &x[0], &y[0], transpose, n_threads)
        check(status)
    return out


def kalman_step(const int[::1] edges not None, float[::1] covariance not None, const float[:, ::1] h not None,
                const double[::1] residual not None, double noise, int n_threads=0):
    """Step [n] of a Kalman filter on residuals [m] with the Jacobian's rows h [m,n]; updates covariance, the blocks
    [size,size] between edges one after the other. csrc/nnpcore.h."""
    cdef int m = h.shape[0], n = h.shape[1], n_blocks = edges.shape[0] - 1, status
    cdef double[::1] s
    if n_blocks < 1 or edges[0] != 0 or edges[n_blocks] != n or residual.shape[0] != m or m < 1:
        raise ValueError("edges [n_blocks + 1] from 0 to n, h [m,n] and residual [m] expected")
    if covariance.shape[0] != sum([(edges[b + 1] - edges[b]) ** 2 for b in range(n_blocks)]):
        raise ValueError("covariance: the blocks [size,size] between edges expected")
    step = np.empty(n)
    s = step
    with nogil:
        status = nnp_kalman_step(n_blocks, &edges[0], &covariance[0], m, &h[0, 0], &residual[0], noise, &s[0],
                                 n_threads)
    check(status)
    return step
