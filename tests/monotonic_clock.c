/* For LD_PRELOAD, on Linux with glibc: the monotonic clocks are MONOTONIC_SHIFT_NS nanoseconds ahead (or behind, if
   negative); the wall clock is right. Absolute times that a process passes to the kernel or to glibc are shifted back.

   A variable and not a start time: all processes of a run, and those that they start, agree on the time. Not covered:
   timer_settime, and processes that call the kernel without libc (Go). These keep the true clock, in both directions. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000LL
#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
    /* The default version of the condition variables' functions: dlsym may find the one of before 2002. */
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    return found ? found : dlsym(RTLD_NEXT, name);
}

static long long shift_ns(void)
{
    static _Atomic long long known;
    static atomic_bool is_known;
    if (!atomic_load(&is_known)) {
        const char *asked = getenv("MONOTONIC_SHIFT_NS");
        atomic_store(&known, asked ? atoll(asked) : 0);
        atomic_store(&is_known, 1);
    }
    return atomic_load(&known);
}

static int is_monotonic(clockid_t clock)
{
    return clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_MONOTONIC_COARSE
        || clock == CLOCK_BOOTTIME;
}

static struct timespec moved(const struct timespec *at, long long by_ns)
{
    long long ns = at->tv_sec * NS_PER_S + at->tv_nsec + by_ns;
    /* The kernel knows no time before its own start: that has passed, which the first nanosecond says as well. */
    if (ns < 1)
        ns = 1;
    return (struct timespec){ns / NS_PER_S, ns % NS_PER_S};
}

static struct timespec true_time(const struct timespec *at)
{
    return moved(at, -shift_ns());
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static __typeof__(&clock_gettime) get;
    if (!get)
        get = REAL(clock_gettime);
    int result = get(clock, now);
    if (result == 0 && is_monotonic(clock))
        *now = moved(now, shift_ns());
    return result;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *at, struct timespec *left)
{
    static __typeof__(&clock_nanosleep) sleep_until;
    if (!sleep_until)
        sleep_until = REAL(clock_nanosleep);
    if (!(flags & TIMER_ABSTIME) || !is_monotonic(clock))
        return sleep_until(clock, flags, at, left);
    struct timespec then = true_time(at);
    return sleep_until(clock, flags, &then, left);
}

/* A file or a condition variable does not say its clock: that is noted where it is made. */

#define MOST_FILES 65536
static atomic_bool fd_is_monotonic[MOST_FILES];

int timerfd_create(clockid_t clock, int flags)
{
    int fd = REAL(timerfd_create)(clock, flags);
    if (fd >= 0 && fd < MOST_FILES)
        atomic_store(&fd_is_monotonic[fd], is_monotonic(clock));
    return fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *new_value, struct itimerspec *old_value)
{
    static __typeof__(&timerfd_settime) set;
    if (!set)
        set = REAL(timerfd_settime);
    struct itimerspec then = *new_value;
    int is_set = then.it_value.tv_sec || then.it_value.tv_nsec;
    if ((flags & TFD_TIMER_ABSTIME) && is_set && fd >= 0 && fd < MOST_FILES && atomic_load(&fd_is_monotonic[fd]))
        then.it_value = true_time(&then.it_value);
    return set(fd, flags, &then, old_value);
}

#define MOST_CONDITIONS 65536
static _Atomic uintptr_t conditions[MOST_CONDITIONS];

static size_t place_of(const pthread_cond_t *condition)
{
    return ((uintptr_t)condition >> 3) % MOST_CONDITIONS;
}

/* A place is never emptied, but for another address: a condition that is made again at an address finds its place. */
static void note(pthread_cond_t *condition, int monotonic)
{
    uintptr_t mine = (uintptr_t)condition;
    for (size_t n = 0, at = place_of(condition); n < MOST_CONDITIONS; n++, at = (at + 1) % MOST_CONDITIONS) {
        uintptr_t there = atomic_load(&conditions[at]);
        if ((there & ~(uintptr_t)1) == mine) {
            atomic_store(&conditions[at], mine | (uintptr_t)monotonic);
            return;
        }
        if (there != 0)
            continue;
        if (!monotonic || atomic_compare_exchange_strong(&conditions[at], &there, mine | 1))
            return;
    }
    abort();
}

static int waits_monotonic(const pthread_cond_t *condition)
{
    uintptr_t mine = (uintptr_t)condition;
    for (size_t n = 0, at = place_of(condition); n < MOST_CONDITIONS; n++, at = (at + 1) % MOST_CONDITIONS) {
        uintptr_t there = atomic_load(&conditions[at]);
        if (there == 0)
            return 0;
        if ((there & ~(uintptr_t)1) == mine)
            return (int)(there & 1);
    }
    return 0;
}

int pthread_cond_init(pthread_cond_t *restrict condition, const pthread_condattr_t *restrict attributes)
{
    clockid_t clock = CLOCK_REALTIME;
    if (attributes)
        pthread_condattr_getclock(attributes, &clock);
    note(condition, is_monotonic(clock));
    return REAL(pthread_cond_init)(condition, attributes);
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict at)
{
    static __typeof__(&pthread_cond_timedwait) wait;
    if (!wait)
        wait = REAL(pthread_cond_timedwait);
    if (!waits_monotonic(condition))
        return wait(condition, mutex, at);
    struct timespec then = true_time(at);
    return wait(condition, mutex, &then);
}

#define SHIFTS_CLOCKWAIT(name, type_of_it)                                                   \
    int name(type_of_it it, clockid_t clock, const struct timespec *at)                     \
    {                                                                                        \
        static int (*wait)(type_of_it, clockid_t, const struct timespec *);                  \
        if (!wait)                                                                           \
            wait = (int (*)(type_of_it, clockid_t, const struct timespec *))real(#name);     \
        if (!is_monotonic(clock))                                                            \
            return wait(it, clock, at);                                                      \
        struct timespec then = true_time(at);                                                \
        return wait(it, clock, &then);                                                       \
    }

SHIFTS_CLOCKWAIT(sem_clockwait, sem_t *restrict)
SHIFTS_CLOCKWAIT(pthread_mutex_clocklock, pthread_mutex_t *restrict)
SHIFTS_CLOCKWAIT(pthread_rwlock_clockrdlock, pthread_rwlock_t *restrict)
SHIFTS_CLOCKWAIT(pthread_rwlock_clockwrlock, pthread_rwlock_t *restrict)

int pthread_cond_clockwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, clockid_t clock,
                           const struct timespec *restrict at)
{
    static __typeof__(&pthread_cond_clockwait) wait;
    if (!wait)
        wait = REAL(pthread_cond_clockwait);
    if (!is_monotonic(clock))
        return wait(condition, mutex, clock, at);
    struct timespec then = true_time(at);
    return wait(condition, mutex, clock, &then);
}

/* Rust's standard library and libev call the kernel through this. */
long syscall(long number, ...)
{
    static long (*call)(long, ...);
    if (!call)
        call = (long (*)(long, ...))real("syscall");
    va_list given;
    va_start(given, number);
    long a = va_arg(given, long), b = va_arg(given, long), c = va_arg(given, long);
    long d = va_arg(given, long), e = va_arg(given, long), f = va_arg(given, long);
    va_end(given);
    if (number == SYS_clock_gettime)
        return clock_gettime((clockid_t)a, (struct timespec *)b);
    struct timespec then;
    int is_absolute = (b & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET && !(b & FUTEX_CLOCK_REALTIME);
    if (number == SYS_futex && is_absolute && d) {
        then = true_time((const struct timespec *)d);
        d = (long)&then;
    }
    return call(number, a, b, c, d, e, f);
}
