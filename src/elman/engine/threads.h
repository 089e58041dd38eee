// The threads of a call: a pool whose threads spin for a moment and then sleep, or lent ones; a barrier among them.
#pragma once
#include <pthread.h>
#include <sched.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

ALWAYS void breathe() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// All `size` threads meet here. Waiting threads spin; on a machine with more work than processors they give way.
struct Barrier {
    int size = 1, arrived = 0, round = 0;
    void wait() {
        if (size > 1) meet();
    }
    __attribute__((noinline)) void meet() {  // a name of its own, so that `perf` tells waiting from the rest
        const int now = __atomic_load_n(&round, __ATOMIC_ACQUIRE);
        if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == size) {
            __atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
            __atomic_store_n(&round, now + 1, __ATOMIC_RELEASE);
            return;
        }
        for (long spins = 0; __atomic_load_n(&round, __ATOMIC_ACQUIRE) == now; spins++)
            if (spins < 4000) breathe();
            else sched_yield();
    }
};

const int MOST_THREADS = 256;
const long SPINS = 20000;  // some tenths of a millisecond before a thread without work goes to sleep

struct Pool {
    pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER;   // one call at a time has the threads
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;  // guards sleeping and waking
    pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
    int threads = 0;   // beside the caller's own
    int sleepers = 0;
    unsigned long ticket = 0;  // the number of the call and, in the lowest 16 bits, how many threads it wants
    int left = 0;              // threads that have not finished the call
    void (*work)(void*, int) = nullptr;
    void* what = nullptr;
#ifdef __linux__
    cpu_set_t allowed;          // processors that the caller may use
    int id[MOST_THREADS] = {};  // the system's numbers of the threads that sleep
#endif
} pool;

// A thread that wakes is often put on its waker's processor, and stays there until that one gives way: a millisecond.
// So the caller, with the mutex, bars its own processor to the sleepers; who wakes lifts that with `anywhere`.
void elsewhere(int threads) {
#ifdef __linux__
    if (sched_getaffinity(0, sizeof(cpu_set_t), &pool.allowed)) return;
    cpu_set_t other = pool.allowed;
    CPU_CLR(sched_getcpu(), &other);
    for (int k = 1; k < threads && CPU_COUNT(&other); k++)
        if (pool.id[k]) sched_setaffinity(pool.id[k], sizeof(cpu_set_t), &other);
#endif
}
void anywhere(int thread) {
#ifdef __linux__
    pool.id[thread] = 0;
    sched_setaffinity(0, sizeof(cpu_set_t), &pool.allowed);
#endif
}

// Threads of the program's other library, where they spin between its operations: OpenMP's, as torch uses them. Threads
// of the pool beside them would find every processor taken after each operation.
struct Lent {
    void (*parallel)(void (*)(void*), void*, unsigned, unsigned) = nullptr;  // GOMP_parallel
    int (*number)() = nullptr, (*count)() = nullptr;                         // omp_get_thread_num, omp_get_num_threads
} lent;
bool are_lent() { return __atomic_load_n(&lent.parallel, __ATOMIC_ACQUIRE); }

struct Newcomer {
    int number;
    unsigned long seen;
};

void* serve(void* given) {
    const Newcomer me = *(Newcomer*)given;
    __builtin_free(given);
    for (unsigned long seen = me.seen;;) {
        long spins = 0;
        while (__atomic_load_n(&pool.ticket, __ATOMIC_SEQ_CST) == seen && spins++ < SPINS) breathe();
        if (__atomic_load_n(&pool.ticket, __ATOMIC_SEQ_CST) == seen) {
            pthread_mutex_lock(&pool.mutex);
            __atomic_add_fetch(&pool.sleepers, 1, __ATOMIC_SEQ_CST);
#ifdef __linux__
            pool.id[me.number] = (int)syscall(SYS_gettid);
#endif
            while (__atomic_load_n(&pool.ticket, __ATOMIC_SEQ_CST) == seen) pthread_cond_wait(&pool.wake, &pool.mutex);
            __atomic_sub_fetch(&pool.sleepers, 1, __ATOMIC_SEQ_CST);
            anywhere(me.number);
            pthread_mutex_unlock(&pool.mutex);
        }
        seen = __atomic_load_n(&pool.ticket, __ATOMIC_SEQ_CST);
        if (me.number >= (int)(seen & 0xffff)) continue;
        pool.work(pool.what, me.number);
        __atomic_sub_fetch(&pool.left, 1, __ATOMIC_ACQ_REL);
    }
    return nullptr;
}

// A forked child has none of the threads, and the locks may be held by one that is not there.
void forget_threads() {
    pool = Pool();
    lent = Lent();
}
void expect_forks() {
    static bool told = false;
    if (!told) told = !pthread_atfork(nullptr, nullptr, forget_threads);
}

// As many threads as asked for, the caller's own included, or as many as can be had.
int gather(int size) {
    expect_forks();
    if (size > MOST_THREADS) size = MOST_THREADS;
    while (pool.threads + 1 < size) {
        Newcomer* newcomer = (Newcomer*)__builtin_malloc(sizeof(Newcomer));
        if (!newcomer) break;
        *newcomer = {pool.threads + 1, pool.ticket};
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_t thread;
        const int failed = pthread_create(&thread, &attributes, serve, newcomer);
        pthread_attr_destroy(&attributes);
        if (failed) {
            __builtin_free(newcomer);
            break;
        }
        pool.threads++;
    }
    return pool.threads + 1 < size ? pool.threads + 1 : size;
}

struct Region {
    int size;
    void (*work)(void*, int);
    void* what;
    Barrier& meet;
    int& threads;
    int processor;  // the caller's
    int arrived;    // threads beside the caller's
};

// A lent thread that woke on its caller's processor leaves it; the system might let both share it for milliseconds.
void leave(int processor) {
#ifdef __linux__
    cpu_set_t allowed;
    if (sched_getcpu() != processor || sched_getaffinity(0, sizeof(cpu_set_t), &allowed)) return;
    cpu_set_t other = allowed;
    CPU_CLR(processor, &other);
    if (!CPU_COUNT(&other) || sched_setaffinity(0, sizeof(cpu_set_t), &other)) return;
    sched_setaffinity(0, sizeof(cpu_set_t), &allowed);
#endif
}

// One that waits behind its caller can leave only when that one gives way; those that spin are there at once.
void make_way(const int& arrived, int all) {
    for (int spins = 0; __atomic_load_n(&arrived, __ATOMIC_RELAXED) < all; spins++)
        if (spins < 200) breathe();
        else return (void)sched_yield();
}

void on_lent_thread(void* given) {
    Region& region = *(Region*)given;
    const int number = lent.number(), there = lent.count(), size = there < region.size ? there : region.size;
    if (number) {
        leave(region.processor);
        __atomic_add_fetch(&region.arrived, 1, __ATOMIC_RELAXED);
    } else make_way(region.arrived, there - 1);
    __atomic_store_n(&region.meet.size, size, __ATOMIC_RELAXED);  // each before it reads them, the same
    __atomic_store_n(&region.threads, size, __ATOMIC_RELAXED);
    if (number < size) region.work(region.what, number);
}

// work(what, number) on threads 0 (the caller's) to size - 1. `meet` is made ready for as many as there really are.
// `all`: the threads that the caller's other work has; of those lent, as many start, for a lender ends what is left out.
void in_parallel(int size, int all, void (*work)(void*, int), void* what, Barrier& meet, int& threads) {
    meet = Barrier();
    threads = 1;
    if (size <= 1) return work(what, 0);
    if (are_lent()) {
#ifdef __linux__
        Region region{size, work, what, meet, threads, sched_getcpu(), 0};
#else
        Region region{size, work, what, meet, threads, 0, 0};
#endif
        return lent.parallel(on_lent_thread, &region, all, 0);
    }
    pthread_mutex_lock(&pool.busy);
    threads = meet.size = gather(size);
    pool.work = work;
    pool.what = what;
    pool.left = threads - 1;
    __atomic_store_n(&pool.ticket, ((pool.ticket >> 16) + 1) << 16 | (unsigned long)threads, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&pool.sleepers, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&pool.mutex);
        elsewhere(threads);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.mutex);
    }
    work(what, 0);
    for (long spins = 0; __atomic_load_n(&pool.left, __ATOMIC_ACQUIRE); spins++)
        if (spins < 4000) breathe();
        else sched_yield();
    pthread_mutex_unlock(&pool.busy);
}

}  // namespace
