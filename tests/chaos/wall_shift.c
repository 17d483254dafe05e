/* LD_PRELOAD for daemons of the lab: their wall clock is ahead of the machine's by what is in the
 * file $WALL_SHIFT (nanoseconds, 8 bytes, native order), which may change at any time. All other
 * clocks are as they are. What waits until an instant of the wall clock is translated, too, so that
 * a shifted process waits as long as it meant to. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BILLION 1000000000LL
static const volatile int64_t *shared;

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("WALL_SHIFT");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *at = mmap(0, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (at != MAP_FAILED) shared = at;
}

static int64_t offset(void) { return shared ? *shared : 0; }

static void move(struct timespec *when, int64_t by) {
    int64_t all = when->tv_sec * BILLION + when->tv_nsec + by;
    if (all < 0) all = 0;
    when->tv_sec = all / BILLION;
    when->tv_nsec = all % BILLION;
}

#define NEXT(name) \
    static __typeof__(name) *next; \
    if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

int clock_gettime(clockid_t clock, struct timespec *now) {
    NEXT(clock_gettime);
    int failed = next(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) move(now, offset());
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *also) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (also) *also = exact.tv_sec;
    return exact.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    NEXT(pthread_cond_timedwait);
    struct timespec real = *until;
    if (!(condition->__data.__wrefs & 2)) move(&real, -offset()); /* glibc: 2 is CLOCK_MONOTONIC */
    return next(condition, mutex, &real);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until) {
    NEXT(pthread_mutex_timedlock);
    struct timespec real = *until;
    move(&real, -offset());
    return next(mutex, &real);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
    NEXT(sem_timedwait);
    struct timespec real = *until;
    move(&real, -offset());
    return next(semaphore, &real);
}

long syscall(long number, ...) {
    static long (*next)(long, ...);
    if (!next) next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    long a[6];
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(rest, long);
    va_end(rest);
    struct timespec real;
    if (number == SYS_futex && (a[1] & FUTEX_CLOCK_REALTIME) && a[3]) {
        real = *(const struct timespec *)a[3];
        move(&real, -offset());
        a[3] = (long)&real;
    }
    if (number == SYS_clock_gettime) return clock_gettime((clockid_t)a[0], (struct timespec *)a[1]);
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
