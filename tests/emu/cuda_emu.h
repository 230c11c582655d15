/* cuda_emu.h - run a CUDA kernel's logic on one CPU thread, for tests only.
 *
 * Every CUDA thread of a block is a fiber; blocks run one after another. A fiber gives up the CPU only inside
 * a barrier or a warp collective, and the order in which fibers resume is a seeded permutation: code that
 * misses a barrier gives different answers for different seeds. Shared memory is filled with 0xFF (NaN)
 * before each block. A collective that not every named lane reaches, or a barrier that some fiber never
 * reaches, ends the launch with an error.
 *
 * Not modelled: memory ordering, concurrency between blocks, textures, cooperative groups.
 */
#ifndef CUDA_EMU_H
#define CUDA_EMU_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

struct dim3 {
    unsigned x, y, z;
};

namespace emu
{
extern dim3 block_idx, block_dim, grid_dim;
const dim3& thread_idx();
void sync_block();
int sync_count(int predicate);
void sync_warp(unsigned mask);
const void* exchange(unsigned mask, const void* v, size_t n, int src_lane);
unsigned ballot(unsigned mask, int predicate);
void* dyn_shared();
int run(dim3 grid, dim3 block, size_t smem, unsigned seed, void (*body)(void*), void* arg);
int lane();

template <class T> T shfl(unsigned mask, T v, int src)
{
    T r;
    std::memcpy(&r, exchange(mask, &v, sizeof v, src), sizeof r);
    return r;
}

template <class... A> struct Call {
    void (*kernel)(A...);
    void** args;
    template <size_t... I> void go(std::index_sequence<I...>) { kernel(*static_cast<A*>(args[I])...); }
    static void body(void* p) { static_cast<Call*>(p)->go(std::index_sequence_for<A...>{}); }
};

template <class... A>
int launch(void (*kernel)(A...), const unsigned* g, const unsigned* b, size_t smem, unsigned seed,
           void** args)
{
    Call<A...> call{kernel, args};
    return run(dim3{g[0], g[1], g[2]}, dim3{b[0], b[1], b[2]}, smem, seed, &Call<A...>::body, &call);
}

/* An argument's type in two or three letters: P for a pointer, then NumPy's kind and size. */
template <class T> void type_code(char*& out)
{
    using V = std::remove_cv_t<std::remove_pointer_t<T>>;
    if (std::is_pointer<T>::value) *out++ = 'P';
    *out++ = std::is_floating_point<V>::value ? 'f'
             : std::is_integral<V>::value     ? (std::is_signed<V>::value ? 'i' : 'u')
                                              : 'V';
    *out++ = (char)('0' + sizeof(V) % 10);
    *out++ = ' ';
}

template <class... A> void signature(void (*)(A...), char* out)
{
    (type_code<A>(out), ...);
    *out = 0;
}
} // namespace emu

#define threadIdx                (emu::thread_idx())
#define blockIdx                 (emu::block_idx)
#define blockDim                 (emu::block_dim)
#define gridDim                  (emu::grid_dim)
#define warpSize                 32
#define __syncthreads()          emu::sync_block()
#define __syncthreads_count(p)   emu::sync_count(p)
#define __syncthreads_or(p)      (emu::sync_count(p) > 0)
#define __syncthreads_and(p)     (emu::sync_count(!(p)) == 0)
#define __shfl_sync(m, v, s)     emu::shfl((m), (v), (s))
#define __shfl_xor_sync(m, v, o) emu::shfl((m), (v), emu::lane() ^ (o))
#define __shfl_down_sync(m, v, o)                                                                            \
    emu::shfl((m), (v), emu::lane() + (o) < 32 ? emu::lane() + (o) : emu::lane())
#define __shfl_up_sync(m, v, o) emu::shfl((m), (v), emu::lane() - (o) >= 0 ? emu::lane() - (o) : emu::lane())
#define __ballot_sync(m, p)     emu::ballot((m), (p))
#define __any_sync(m, p)        (emu::ballot((m), (p)) != 0)
#define __all_sync(m, p)        (emu::ballot((m), !(p)) == 0)
#define __activemask()          0xffffffffu
#define __popc(x)               __builtin_popcount(x)
#define __ffs(x)                __builtin_ffs(x)
#define __ldg(p)                (*(p))
#define __shared__              static __attribute__((section("emu_shared")))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __device__
#define __forceinline__  inline
#define __fdividef(a, b) ((a) / (b))

static inline void __syncwarp(unsigned mask = 0xffffffffu) { emu::sync_warp(mask); }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float __frcp_rn(float x) { return 1.0f / x; }
template <class A, class B> static inline A emu_cast(B b)
{
    static_assert(sizeof(A) == sizeof(B), "size");
    A a;
    std::memcpy(&a, &b, sizeof a);
    return a;
}
static inline long long __double_as_longlong(double x) { return emu_cast<long long>(x); }
static inline double __longlong_as_double(long long x) { return emu_cast<double>(x); }
static inline int __float_as_int(float x) { return emu_cast<int>(x); }
static inline float __int_as_float(int x) { return emu_cast<float>(x); }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }

template <class T> T atomicAdd(T* p, T v)
{
    T o = *p;
    *p = o + v;
    return o;
}
template <class T> T atomicMax(T* p, T v)
{
    T o = *p;
    if (v > o) *p = v;
    return o;
}
template <class T> T atomicMin(T* p, T v)
{
    T o = *p;
    if (v < o) *p = v;
    return o;
}
template <class T> T atomicOr(T* p, T v)
{
    T o = *p;
    *p = o | v;
    return o;
}
template <class T> T atomicExch(T* p, T v)
{
    T o = *p;
    *p = v;
    return o;
}
template <class T> T atomicCAS(T* p, T c, T v)
{
    T o = *p;
    if (o == c) *p = v;
    return o;
}

/* what nnp_config.h leaves to the emulator */
#define NNP_GPU                 1
#define NNP_EMULATED            1
#define NNP_KERNEL              static void
#define NNP_RESTRICT            __restrict__
#define NNP_DYN_SHARED(T, name) T* const name = static_cast<T*>(emu::dyn_shared())

/* extern "C" entry point that takes the argument array that cuLaunchKernel takes */
#define EMU_EXPORT(kernel)                                                                                   \
    extern "C" __attribute__((visibility("default"))) int emu_##kernel(                                      \
        const unsigned* g, const unsigned* b, size_t smem, unsigned seed, void** args)                       \
    {                                                                                                        \
        return emu::launch(kernel, g, b, smem, seed, args);                                                  \
    }                                                                                                        \
    extern "C" __attribute__((visibility("default"))) void sig_##kernel(char* out)                           \
    {                                                                                                        \
        emu::signature(kernel, out);                                                                         \
    }

#endif
