/* A wall clock that is wrong by CLOCK_OFF_S seconds, for the process that this is preloaded into. Monotonic time is
 * left alone, and so is how long a timed wait waits: whoever computes its end from the wrong clock waits by it too.
 * (Debian's libfaketime does not know cnd_timedwait, which librdkafka waits by: its waits become endless or void.) */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

/* An end later than this (2001) is wall time; a monotonic one counts from the machine's start. */
#define WALL 1000000000

static long off(void) {
    static long seconds;
    static int known;
    if (!known) {
        const char *text = getenv("CLOCK_OFF_S");
        seconds = text ? atol(text) : 0;
        known = 1;
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += off();
    return result;
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
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    if (also) *also = now.tv_sec;
    return now.tv_sec;
}

int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex, const struct timespec *restrict end) {
    typedef int wait_fn(cnd_t *, mtx_t *, const struct timespec *);
    static wait_fn *wait;
    struct timespec ours = *end;
    if (!wait) wait = (wait_fn *)dlsym(RTLD_NEXT, "cnd_timedwait");
    if (ours.tv_sec > WALL) ours.tv_sec -= off();
    return wait(cond, mutex, &ours);
}
