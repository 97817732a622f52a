// CUDA C as a C++ compiler's: what the generated kernels use of the language and of a GPU, in plain C++.
//
// A block's threads are coroutines of one thread of the machine. Each runs until it waits for others; then another one
// goes on, forwards or backwards, so that a missing barrier shows. Blocks run one after the other.

#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <utility>


#define OB_EMULATED
#define __global__ static
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(n)
#define __shared__ static

struct Dim {
  unsigned x, y, z;
};
struct uint4 {
  unsigned x, y, z, w;
};
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

static Dim threadIdx, blockIdx;

// Scheduling

constexpr int kMost = 1024, kWarp = 32;
constexpr size_t kStack = 1 << 16;

struct Barrier {
  int waiting, generation;
};

struct Block {
  int size, running, current, step;
  bool together;
  void *stacks[kMost];
  void *pointers[kMost];
  bool done[kMost];
  Barrier all, warps[kMost / kWarp];
  uint64_t words[kMost];
  uint32_t fragments[kMost][6];
};
static Block block;
static void *scheduler;

extern "C" void ob_switch(void **from, void *to);
#if defined(__x86_64__)
asm(R"(
.text
.type ob_switch,@function
.globl ob_switch
.hidden ob_switch
ob_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size ob_switch,.-ob_switch
)");
#elif defined(__aarch64__)
asm(R"(
.text
.type ob_switch,@function
.globl ob_switch
.hidden ob_switch
ob_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x2, sp
  str x2, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size ob_switch,.-ob_switch
)");
#endif

static inline void ob_wait_turn() {
  const int self = block.current;
  ob_switch(&block.pointers[self], scheduler);
}

static inline void ob_meet(Barrier &barrier, int size) {
  if (!block.together) {
    std::fprintf(stderr, "a kernel that is launched as one of lone threads waits for others\n");
    std::abort();
  }
  const int generation = barrier.generation;
  if (++barrier.waiting == size) {
    barrier.waiting = 0;
    barrier.generation++;
    block.running++;  // progress
    return;
  }
  while (barrier.generation == generation) ob_wait_turn();
  block.running++;
}

static inline int ob_warp_size() {
  const int first = block.current / kWarp * kWarp;
  return block.size - first < kWarp ? block.size - first : kWarp;
}
static inline void ob_meet_warp() { ob_meet(block.warps[block.current / kWarp], ob_warp_size()); }
static inline void __syncthreads() { ob_meet(block.all, block.size); }

template <class V>
static inline V __shfl_xor_sync(unsigned mask, V value, int hop) {
  static_assert(sizeof(V) <= 8, "");
  if (mask != 0xffffffffu) std::abort();
  std::memcpy(&block.words[block.current], &value, sizeof(V));
  ob_meet_warp();
  V other;
  std::memcpy(&other, &block.words[block.current ^ hop], sizeof(V));
  ob_meet_warp();
  return other;
}

// Operations

static inline unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
static inline float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
// A GPU's NaN from arithmetic has these bits, whatever went in.
static inline float ob_gpu_nan(float x) { return x != x ? __uint_as_float(0x7fffffffu) : x; }
static inline float __fadd_rn(float x, float y) { return ob_gpu_nan(x + y); }
static inline float __fsub_rn(float x, float y) { return ob_gpu_nan(x - y); }
static inline float __fmul_rn(float x, float y) { return ob_gpu_nan(x * y); }
static inline float __fdiv_rn(float x, float y) { return ob_gpu_nan(x / y); }
static inline float __fsqrt_rn(float x) { return ob_gpu_nan(__builtin_sqrtf(x)); }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned x) { return (float)x; }
static inline float __ll2float_rn(long long x) { return (float)x; }
static inline int __float2int_rn(float x) { return (int)std::lrint(x); }
static inline long long __float2ll_rn(float x) { return std::llrint(x); }

static inline int __dp4a(int x, int y, int sum) {
  unsigned total = (unsigned)sum;
  for (int k = 0; k < 4; k++) total += (unsigned)((int)(signed char)(x >> 8 * k) * (int)(signed char)(y >> 8 * k));
  return (int)total;
}

template <class V>
static inline V atomicAdd(V *place, V value) {
  const V before = *place;
  *place = before + value;
  return before;
}
template <class V>
static inline V atomicMax(V *place, V value) {
  const V before = *place;
  if (value > before) *place = value;
  return before;
}

// By the PTX manual's tables for m16n8k32: which lane holds which element.
static inline void ob_mma(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  const int lane = block.current % kWarp, first = block.current - lane;
  std::memcpy(block.fragments[block.current], a, 16);
  std::memcpy(block.fragments[block.current] + 4, b, 8);
  ob_meet_warp();
  signed char rows[2][32], columns[2][32];
  for (int half = 0; half < 2; half++)
    for (int k = 0; k < 32; k++) {
      const int holder = k % 16 / 4;
      const unsigned x = block.fragments[first + lane / 4 * 4 + holder][half + k / 16 * 2];
      const unsigned y = block.fragments[first + (lane % 4 * 2 + half) * 4 + holder][4 + k / 16];
      rows[half][k] = (signed char)(x >> 8 * (k % 4));
      columns[half][k] = (signed char)(y >> 8 * (k % 4));
    }
  for (int r = 0; r < 4; r++) {
    unsigned sum = (unsigned)d[r];
    for (int k = 0; k < 32; k++) sum += (unsigned)((int)rows[r / 2][k] * (int)columns[r % 2][k]);
    d[r] = (int)sum;
  }
  ob_meet_warp();
}

// Launches

template <class... P>
struct Bound {
  void (*kernel)(P...);
  std::tuple<P...> pointers;
  void call() const { std::apply(kernel, pointers); }
};
using Body = void (*)(const void *);
static Body body;
static const void *bound;

static void ob_begin() {
  body(bound);
  block.done[block.current] = true;
  block.running++;
  for (;;) ob_wait_turn();
}

static void ob_prepare(int thread) {
  if (!block.stacks[thread]) block.stacks[thread] = std::aligned_alloc(64, kStack);
  char *top = (char *)block.stacks[thread] + kStack;
#if defined(__x86_64__)
  void **frame = (void **)(top - 128);
  *--frame = nullptr;
  *--frame = (void *)ob_begin;
  for (int k = 0; k < 6; k++) *--frame = nullptr;
#else
  void **frame = (void **)(top - 256);
  std::memset(frame, 0, 160);
  frame[11] = (void *)ob_begin;
#endif
  block.pointers[thread] = frame;
  block.done[thread] = false;
}

static void ob_run_together() {
  for (int thread = 0; thread < block.size; thread++) ob_prepare(thread);
  block.all = {};
  for (Barrier &warp : block.warps) warp = {};
  for (int left = block.size; left > 0;) {
    left = 0;
    block.running = 0;
    for (int at = 0; at < block.size; at++) {
      const int thread = block.step > 0 ? at : block.size - 1 - at;
      if (block.done[thread]) continue;
      block.current = thread;
      threadIdx = {(unsigned)thread, 0, 0};
      ob_switch(&scheduler, block.pointers[thread]);
      left += !block.done[thread];
    }
    if (left && !block.running) {
      std::fprintf(stderr, "threads of a block wait for others that never come\n");
      std::abort();
    }
  }
}

static void ob_launch(const unsigned *grid, unsigned threads, bool together, bool backwards) {
  block.size = (int)threads;
  block.together = together;
  block.step = backwards ? -1 : 1;
  for (unsigned z = 0; z < grid[2]; z++)
    for (unsigned y = 0; y < grid[1]; y++)
      for (unsigned at = 0; at < grid[0]; at++) {
        blockIdx = {backwards ? grid[0] - 1 - at : at, y, z};
        if (together) {
          ob_run_together();
          continue;
        }
        for (unsigned thread = 0; thread < threads; thread++) {
          block.current = (int)thread;
          threadIdx = {thread, 0, 0};
          body(bound);
        }
      }
}

template <class... P, size_t... K>
static void ob_bind(void (*kernel)(P...), const uint64_t *pointers, const unsigned *grid, unsigned threads,
                    bool together, bool backwards, std::index_sequence<K...>) {
  const Bound<P...> made{kernel, {(P)pointers[K]...}};
  bound = &made;
  body = [](const void *held) { static_cast<const Bound<P...> *>(held)->call(); };
  ob_launch(grid, threads, together, backwards);
}

template <class... P>
static void ob_call(void (*kernel)(P...), const uint64_t *pointers, const unsigned *grid, unsigned threads,
                    bool together, bool backwards) {
  ob_bind(kernel, pointers, grid, threads, together, backwards, std::index_sequence_for<P...>{});
}
