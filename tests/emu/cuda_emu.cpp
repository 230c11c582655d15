/* cuda_emu.cpp - the fibers of cuda_emu.h. */
#include "cuda_emu.h"
#include <setjmp.h>
#include <ucontext.h>
#include <vector>

namespace emu
{
dim3 block_idx, block_dim, grid_dim;

struct Barrier {
    unsigned arrived = 0, gen = 0;
};
struct Warp {
    Barrier bar[32]; /* of a team: by its lowest lane */
    unsigned mask = 0, live = 0;
    unsigned char slot[32][16];
    unsigned pred = 0;
};
struct Fiber {
    ucontext_t ctx;
    jmp_buf jb;
    bool started = false;
    std::vector<char> stack;
    dim3 tid;
    int id = 0;
    bool done = false;
};

static ucontext_t scheduler;
static jmp_buf scheduler_jb;
extern "C" {
extern unsigned char __start_emu_shared[] __attribute__((weak)), __stop_emu_shared[] __attribute__((weak));
}
static std::vector<Fiber> fibers;
static std::vector<Warp> warps;
static Barrier block_bar;
static Fiber* self;
static unsigned n_live;
static bool progress;
static const char* error;
static void (*g_body)(void*);
static void* g_arg;
static std::vector<unsigned char> dyn;

const dim3& thread_idx() { return self->tid; }
int lane() { return self->id & 31; }
void* dyn_shared() { return dyn.data(); }

/* ucontext only starts a fiber; switching by _setjmp/_longjmp makes no system call. */
static void yield()
{
    if (!_setjmp(self->jb)) _longjmp(scheduler_jb, 1);
}
static void resume()
{
    if (_setjmp(scheduler_jb)) return;
    if (self->started) _longjmp(self->jb, 1);
    self->started = true;
    setcontext(&self->ctx);
}

static void wait(Barrier& b, unsigned expected_now, unsigned* expected)
{
    const unsigned gen = b.gen;
    ++b.arrived;
    progress = true;
    (void)expected_now;
    for (;;) {
        if (b.gen != gen) return;
        if (b.arrived >= *expected) {
            b.arrived = 0;
            ++b.gen;
            progress = true;
            return;
        }
        yield();
    }
}

void sync_block() { wait(block_bar, n_live, &n_live); }

int sync_count(int predicate)
{
    static unsigned char said[1024];
    said[self->id] = predicate != 0;
    sync_block();
    int count = 0;
    for (unsigned t = 0; t < block_dim.x * block_dim.y * block_dim.z; ++t)
        count += !fibers[t].done && said[t];
    sync_block(); /* nobody says anything new before all have counted */
    return count;
}

static void wait_warp(unsigned mask)
{
    Warp& w = warps[self->id >> 5];
    unsigned need = (unsigned)__builtin_popcount(mask & w.live);
    if (!(mask >> lane() & 1)) { error = "warp collective called by a lane outside its mask"; }
    if ((mask & w.live) != mask) { error = "warp collective names an exited lane"; }
    wait(w.bar[__builtin_ctz(mask)], need, &need);
}
void sync_warp(unsigned mask) { wait_warp(mask & warps[self->id >> 5].live); }

const void* exchange(unsigned mask, const void* v, size_t n, int src)
{
    static unsigned char out[16];
    Warp& w = warps[self->id >> 5];
    std::memcpy(w.slot[lane()], v, n);
    wait_warp(mask);
    unsigned char tmp[16];
    std::memcpy(tmp, w.slot[src & 31], n);
    wait_warp(mask); /* nobody overwrites a slot before all have read */
    std::memcpy(out, tmp, n);
    return out;
}

unsigned ballot(unsigned mask, int pred)
{
    Warp& w = warps[self->id >> 5];
    if (pred)
        w.pred |= 1u << lane();
    else
        w.pred &= ~(1u << lane());
    wait_warp(mask);
    const unsigned r = w.pred & mask;
    wait_warp(mask);
    return r;
}

static void entry()
{
    g_body(g_arg);
    self->done = true;
    progress = true;
    --n_live;
    warps[self->id >> 5].live &= ~(1u << (self->id & 31));
    _longjmp(scheduler_jb, 1);
}

static int run_block(unsigned seed)
{
    const unsigned n = block_dim.x * block_dim.y * block_dim.z;
    warps.assign((n + 31) / 32, Warp());
    block_bar = Barrier();
    n_live = n;
    for (unsigned t = 0; t < n; ++t) {
        Fiber& f = fibers[t];
        f.id = (int)t;
        f.tid = dim3{t % block_dim.x, t / block_dim.x % block_dim.y, t / (block_dim.x * block_dim.y)};
        f.done = f.started = false;
        warps[t >> 5].live |= 1u << (t & 31);
        getcontext(&f.ctx);
        f.ctx.uc_stack.ss_sp = f.stack.data();
        f.ctx.uc_stack.ss_size = f.stack.size();
        f.ctx.uc_link = &scheduler;
        makecontext(&f.ctx, entry, 0);
    }
    std::vector<unsigned> order(n);
    for (unsigned t = 0; t < n; ++t) order[t] = t;
    uint64_t s = seed * 0x9E3779B97F4A7C15ull + 1;
    while (n_live) {
        if (seed) /* a new order of the fibers for every pass */
            for (unsigned t = n - 1; t > 0; --t) {
                s ^= s << 13;
                s ^= s >> 7;
                s ^= s << 17;
                std::swap(order[t], order[s % (t + 1)]);
            }
        progress = false;
        for (unsigned t : order)
            if (!fibers[t].done) {
                self = &fibers[t];
                resume();
            }
        if (error) return 1;
        if (!progress) {
            error = "deadlock: a barrier or warp collective is not reached by all";
            return 1;
        }
    }
    return 0;
}

int run(dim3 grid, dim3 block, size_t smem, unsigned seed, void (*body)(void*), void* arg)
{
    const unsigned n = block.x * block.y * block.z;
    error = nullptr;
    if (!n || n > 1024) {
        error = "bad block size";
        return 1;
    }
    grid_dim = grid;
    block_dim = block;
    g_body = body;
    g_arg = arg;
    if (fibers.size() < n) fibers.resize(n);
    for (auto& f : fibers)
        if (f.stack.empty()) f.stack.resize(64 * 1024);
    for (block_idx.z = 0; block_idx.z < grid.z; ++block_idx.z)
        for (block_idx.y = 0; block_idx.y < grid.y; ++block_idx.y)
            for (block_idx.x = 0; block_idx.x < grid.x; ++block_idx.x) {
                dyn.assign(smem + 16, 0xFF);
                if (__start_emu_shared)
                    std::memset(__start_emu_shared, 0xFF, (size_t)(__stop_emu_shared - __start_emu_shared));
                if (run_block(seed ? seed + block_idx.x * 7919u + 1u : 0u)) return 1;
            }
    return 0;
}
} // namespace emu
extern "C" __attribute__((visibility("default"))) const char* emu_last_error()
{
    return emu::error ? emu::error : "";
}
