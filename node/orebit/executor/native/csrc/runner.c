/* Runs the tasks of a step over a pool of threads that persists between steps.
 *
 * One 64-bit cursor says which task runs and which of its parts is next; whoever finishes a task's last part moves the
 * cursor to the next task. Waiting threads spin briefly, then sleep. A thread that wakes late simply finds the run
 * closed: nobody ever waits for a thread that has not begun. */
#define _GNU_SOURCE
#include "orebit.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#define MAX_THREADS 1024
#define PARTS_PER_THREAD 8
#define SPINS 2000
#define PART_BITS 24
#define PART_MASK ((UINT64_C(1) << PART_BITS) - 1)
#define CACHE_LINE 128

/* Threads asleep until a word changes. */
struct bell {
    atomic_int sleepers;
    pthread_cond_t rung;
};

struct pool {
    _Alignas(CACHE_LINE) atomic_uint_fast64_t cursor; /* task << PART_BITS | next part */
    _Alignas(CACHE_LINE) atomic_int_fast64_t finished; /* parts of the current task that are done */
    _Alignas(CACHE_LINE) atomic_uint_fast64_t generation; /* runs begun so far */
    atomic_int active; /* workers inside the current run */
    pthread_mutex_t lock;
    struct bell next_task, next_run;
    bool open;
    int wanted; /* workers that the current run may use */
    int workers;
    const struct orebit_task *tasks;
    int64_t n;
    int64_t parts_limit;
    struct pool *next;
};

struct worker {
    struct pool *pool;
    int index;
};

static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static struct pool *idle_pools;

static void relax(void) {
#if OREBIT_X86
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Denormals on, round to nearest, exceptions masked: what every kernel counts on. Returns what was there. */
static uint64_t plain_floats(void) {
#if OREBIT_X86
    const unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(0x1f80);
    return before;
#elif defined(__aarch64__)
    uint64_t before;
    const uint64_t plain = 0;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(plain));
    return before;
#else
    return 0;
#endif
}

static void restore_floats(uint64_t before) {
#if OREBIT_X86
    __builtin_ia32_ldmxcsr((unsigned)before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
    (void)before;
#endif
}

static int64_t parts_of(const struct orebit_task *task, int64_t limit) {
    if (task->count <= task->grain) return 1;
    const int64_t most = (task->count - 1) / task->grain + 1;
    return most < limit ? most : limit;
}

static void run_part(const struct orebit_task *task, int64_t part, int64_t parts) {
    if (task->count == 0) return;
    const int64_t grains = (task->count - 1) / task->grain + 1;
    const int64_t quotient = grains / parts, remainder = grains % parts;
    const int64_t first = part * quotient + (part < remainder ? part : remainder);
    const int64_t size = quotient + (part < remainder);
    const int64_t begin = first * task->grain;
    const int64_t end = first + size == grains ? task->count : begin + size * task->grain;
    task->kernel(task->args, begin, end);
}

static void run_whole(const struct orebit_task *task) {
    if (task->count > 0) task->kernel(task->args, 0, task->count);
}

/* Waits until `word >> shift` is no longer `seen`; whoever changes it rings the bell afterwards. */
static void await_change(struct pool *pool, struct bell *bell, atomic_uint_fast64_t *word, int shift, uint64_t seen) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) >> shift != seen) return;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&bell->sleepers, 1);
    while (atomic_load(word) >> shift == seen) pthread_cond_wait(&bell->rung, &pool->lock);
    atomic_fetch_sub(&bell->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

static void ring(struct pool *pool, struct bell *bell) {
    if (atomic_load(&bell->sleepers) == 0) return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&bell->rung);
    pthread_mutex_unlock(&pool->lock);
}

/* Runs whole every task that has one part, from `task` on, then opens the next one that has several. */
static void advance(struct pool *pool, int64_t task) {
    while (task < pool->n && parts_of(&pool->tasks[task], pool->parts_limit) == 1) run_whole(&pool->tasks[task++]);
    atomic_store_explicit(&pool->finished, 0, memory_order_relaxed);
    atomic_store(&pool->cursor, (uint64_t)task << PART_BITS);
    ring(pool, &pool->next_task);
}

static void take_part(struct pool *pool) {
    for (;;) {
        const uint64_t seen = atomic_load(&pool->cursor) >> PART_BITS;
        if (seen >= (uint64_t)pool->n) return;
        /* The task may have moved on since: then the ticket is for the one that runs now, which is as good. */
        const uint64_t ticket = atomic_fetch_add(&pool->cursor, 1);
        const int64_t task = (int64_t)(ticket >> PART_BITS), part = (int64_t)(ticket & PART_MASK);
        if (task >= pool->n) return;
        const int64_t parts = parts_of(&pool->tasks[task], pool->parts_limit);
        if (part >= parts) {
            await_change(pool, &pool->next_task, &pool->cursor, PART_BITS, (uint64_t)task);
            continue;
        }
        run_part(&pool->tasks[task], part, parts);
        if (atomic_fetch_add(&pool->finished, 1) + 1 == parts) advance(pool, task + 1);
    }
}

static void *work(void *argument) {
    struct worker worker = *(struct worker *)argument;
    free(argument);
    struct pool *pool = worker.pool;
    plain_floats();
    uint64_t seen = 0;
    for (;;) {
        await_change(pool, &pool->next_run, &pool->generation, 0, seen);
        pthread_mutex_lock(&pool->lock);
        seen = atomic_load(&pool->generation);
        const bool joins = pool->open && worker.index < pool->wanted;
        if (joins) atomic_fetch_add(&pool->active, 1);
        pthread_mutex_unlock(&pool->lock);
        if (!joins) continue;
        take_part(pool);
        atomic_fetch_sub(&pool->active, 1);
    }
    return NULL;
}

/* As many workers as can be had; the calling thread does what they do not. */
static void grow(struct pool *pool, int wanted) {
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    while (pool->workers < wanted) {
        struct worker *worker = malloc(sizeof *worker);
        if (worker == NULL) break;
        worker->pool = pool;
        worker->index = pool->workers;
        pthread_t thread;
        if (pthread_create(&thread, &attributes, work, worker) != 0) {
            free(worker);
            break;
        }
        pool->workers++;
    }
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Threads do not survive a fork: the child starts without pools. */
static void forget_pools(void) {
    pthread_mutex_init(&idle_lock, NULL);
    idle_pools = NULL;
}

static void register_fork(void) { pthread_atfork(NULL, NULL, forget_pools); }

static void hang(struct bell *bell) {
    atomic_init(&bell->sleepers, 0);
    pthread_cond_init(&bell->rung, NULL);
}

/* A pool that no other calling thread uses. */
static struct pool *acquire(void) {
    pthread_once(&fork_once, register_fork);
    pthread_mutex_lock(&idle_lock);
    struct pool *pool = idle_pools;
    if (pool != NULL) idle_pools = pool->next;
    pthread_mutex_unlock(&idle_lock);
    if (pool != NULL) return pool;
    pool = aligned_alloc(CACHE_LINE, sizeof *pool);
    if (pool == NULL) return NULL;
    atomic_init(&pool->cursor, 0);
    atomic_init(&pool->finished, 0);
    atomic_init(&pool->generation, 0);
    atomic_init(&pool->active, 0);
    pthread_mutex_init(&pool->lock, NULL);
    hang(&pool->next_task);
    hang(&pool->next_run);
    pool->open = false;
    pool->wanted = pool->workers = 0;
    return pool;
}

static void give_back(struct pool *pool) {
    pthread_mutex_lock(&idle_lock);
    pool->next = idle_pools;
    idle_pools = pool;
    pthread_mutex_unlock(&idle_lock);
}

static void run_together(struct pool *pool, const struct orebit_task *tasks, int64_t n, int threads) {
    if (pool->workers < threads - 1) grow(pool, threads - 1);
    pthread_mutex_lock(&pool->lock);
    pool->tasks = tasks;
    pool->n = n;
    pool->parts_limit = (int64_t)threads * PARTS_PER_THREAD;
    atomic_store(&pool->finished, 0);
    atomic_store(&pool->cursor, 0);
    pool->wanted = threads - 1;
    pool->open = true;
    atomic_fetch_add(&pool->generation, 1);
    pthread_mutex_unlock(&pool->lock);
    ring(pool, &pool->next_run);

    take_part(pool);

    pthread_mutex_lock(&pool->lock);
    pool->open = false;
    pthread_mutex_unlock(&pool->lock);
    for (int spins = 0; atomic_load(&pool->active) != 0; spins++) {
        if (spins < SPINS) relax();
        else sched_yield();
    }
}

static void run_alone(const struct orebit_task *tasks, int64_t n) {
    for (int64_t i = 0; i < n; i++) run_whole(&tasks[i]);
}

int orebit_run(const struct orebit_task *tasks, int64_t n, int threads) {
    if (n < 0 || (n > 0 && tasks == NULL) || threads < 1 || threads > MAX_THREADS) return -1;
    bool splits = false;
    for (int64_t i = 0; i < n; i++) {
        if (tasks[i].kernel == NULL || tasks[i].count < 0 || tasks[i].grain < 1) return -1;
        splits = splits || tasks[i].count > tasks[i].grain;
    }
    const uint64_t before = plain_floats();
    struct pool *pool = threads > 1 && splits ? acquire() : NULL;
    if (pool == NULL) {
        run_alone(tasks, n);
    } else {
        run_together(pool, tasks, n, threads);
        give_back(pool);
    }
    restore_floats(before);
    return 0;
}

OREBIT_EXPORT int orebit_abi(void) { return OREBIT_ABI; }

/* The floating-point control word as a kernel sees it, for tests: args[0] is the address of one word a part. */
OREBIT_EXPORT void orebit_probe_floats(const int64_t *args, int64_t begin, int64_t end) {
    uint64_t *out = (uint64_t *)(uintptr_t)args[0];
    const uint64_t word = plain_floats();
    restore_floats(word);
    for (int64_t i = begin; i < end; i++) out[i] = word;
}
