/*
 * Reads many token streams at a time and says how late the tokens came: one thread, epoll, a few microseconds a token,
 * so that what is measured is not this program. `python -m bench` compiles and calls it; see bench/load.py.
 *
 *   cc -O2 -o streamload bench/streamload.c && ./streamload FILE MARKER key=number...
 *
 * FILE has one reader per line: a URL on 127.0.0.1 and header lines, with tabs between. A token is 16 digits and a
 * space, the time at which it was due in microseconds since the epoch; the first of a text stands right behind MARKER.
 * Prints one JSON object. All times are CLOCK_REALTIME microseconds, as the stamps are.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "histogram.h"
#include "http_answer.h"
#include "pattern.h"
#include "readings.h"

#define STAMP_DIGITS 16
#define GRACE_US 1000000  /* for streams that have all their tokens to end by themselves */

static struct pattern marker, number_key, ended_key = { .text = "\"ended\":true" };

struct connection {
    int fd;
    bool begun, over, complete, ended, in_text, in_number;
    unsigned char marker_at, number_at, ended_at, digits;
    uint64_t stamp, number, last;  /* last: the id, or the cursor, that was seen */
    uint64_t tokens, due_us;
    struct reading reading;
    struct answer answer;
};

static struct connection *connections;
static long count, begun, settled, over;  /* settled: has all its tokens, or is over */
static int epoll;
static uint64_t now_us, first_us, last_us, first_due_us, tokens, bytes, requests, reopened, early, wrong_ids, proper;
static struct { long refused, closed, status, malformed; } failed;
static struct histogram latency, first_token;
static char input[256 * 1024], sample[400];  /* sample: how the first stream ended that was not whole */
static ssize_t input_bytes;

static uint64_t clock_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
}

static void settle(struct connection *c) {
    if (!c->complete) settled++;
    c->complete = true;
}

static void token(struct connection *c, uint64_t due_us) {
    if (!c->tokens++) histogram_add(&first_token, now_us - c->due_us);
    tokens++;
    last_us = now_us;
    if (!first_us) first_us = now_us, first_due_us = due_us;
    if (c->tokens == option.tokens) settle(c);
    if (now_us < due_us) early++;
    if (due_us >= first_due_us + option.warmup * 1e6) histogram_add(&latency, now_us > due_us ? now_us - due_us : 0);
}

static void number(struct connection *c, uint64_t value) {
    if (option.ids && value != c->last + 1) wrong_ids++;
    c->last = value;
}

static void scan(struct connection *c, const char *p, const char *end) {
    for (; p < end; p++) {
        unsigned digit = (unsigned char)*p - '0';
        if (c->in_text) {
            if (c->digits < STAMP_DIGITS && digit < 10) {
                c->stamp = c->stamp * 10 + digit;
                c->digits++;
            } else {
                c->in_text = c->digits == STAMP_DIGITS && *p == ' ';  /* another may follow: entries may be joined */
                if (c->in_text) token(c, c->stamp);
                c->digits = c->stamp = 0;
            }
        }
        if (matches(&marker, &c->marker_at, *p)) c->in_text = true;
        if (!number_key.length) continue;
        if (c->in_number) {
            if (digit < 10) c->number = c->number * 10 + digit;
            else c->in_number = false, number(c, c->number);
        }
        if (matches(&number_key, &c->number_at, *p)) c->in_number = true, c->number = 0;
        if (option.poll && matches(&ended_key, &c->ended_at, *p)) c->ended = true;
    }
}

/* ---- connections ---- */

static void keep_sample(void) {
    ssize_t n = input_bytes < (ssize_t)sizeof sample - 1 ? input_bytes : (ssize_t)sizeof sample - 1;
    const char *from = input + input_bytes - n;
    if (n <= 0 || *sample) return;
    for (ssize_t i = 0; i < n; i++)  /* as it stands in JSON, whatever it was */
        sample[i] = from[i] == '"' || from[i] == '\\' ? '\'' : from[i] < ' ' ? '|' : from[i];
}

static void finish(struct connection *c, long *why) {
    if (option.tokens && c->tokens != option.tokens) keep_sample();
    if (why) ++*why;
    else proper++;
    settle(c);
    c->over = true;
    over++;
    close(c->fd);
}

static void ask(struct connection *c) {
    static char request[REQUEST_BYTES];
    int n = snprintf(request, sizeof request, "%s %s", option.post ? "POST" : "GET", c->reading.path);
    if (option.poll) n += sprintf(request + n, "&after=%llu", (unsigned long long)c->last);
    n += snprintf(request + n, sizeof request - n, " HTTP/1.1\r\nHost: %s\r\n%s", c->reading.host, c->reading.fields);
    if (option.post) n += snprintf(request + n, sizeof request - n, "Content-Length: %zu\r\n", strlen(c->reading.body));
    n += snprintf(request + n, sizeof request - n, "\r\n%s", option.post ? c->reading.body : "");
    answer_begin(&c->answer);
    c->marker_at = c->ended_at = c->digits = 0;
    c->in_text = c->in_number = false;
    c->stamp = 0;
    c->number_at = option.ids ? 1 : 0;  /* a body's first line follows on no newline */
    requests++;
    if (write(c->fd, request, n) != n) finish(c, &failed.closed);
}

static void begin(struct connection *c) {
    int one = 1;
    struct epoll_event event = { .events = EPOLLOUT, .data.ptr = c };
    c->begun = false;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if ((connect(c->fd, (struct sockaddr *)&c->reading.address, sizeof c->reading.address) && errno != EINPROGRESS) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event))
        finish(c, &failed.refused);
}

static void connected(struct connection *c) {
    int error = 0;
    socklen_t size = sizeof error;
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) { finish(c, &failed.refused); return; }
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
    c->begun = true;
    ask(c);
}

static void hung_up(struct connection *c) {
    bool nothing = c->answer.state == STATUS_LINE && !c->answer.line_bytes;
    if (option.poll && nothing && c->last) {  /* between two polls a server may close */
        reopened++;
        close(c->fd);
        begin(c);
    } else {
        finish(c, c->answer.state == TO_CLOSE ? NULL : &failed.closed);
    }
}

static void readable(struct connection *c) {
    ssize_t n = input_bytes = read(c->fd, input, sizeof input);
    if (n < 0 && errno == EAGAIN) return;
    now_us = clock_us();
    if (n <= 0) { hung_up(c); return; }
    bytes += n;
    size_t length;
    const char *at = input, *piece;
    while ((piece = next_piece(&c->answer, &at, input + n, &length))) {
        if (c->answer.status != 200 && c->answer.status != 201) break;
        scan(c, piece, piece + length);
    }
    enum answer_state state = c->answer.state;
    if (state == BROKEN) finish(c, &failed.malformed);
    else if (state > FIELDS && c->answer.status != 200 && c->answer.status != 201) finish(c, &failed.status);
    else if (state == OVER && option.poll && !c->ended) ask(c);
    else if (state == OVER) finish(c, NULL);
}

/* ---- the run ---- */

static void run(void) {
    static struct epoll_event events[1024];
    uint64_t start_us = clock_us(), until_us = start_us + option.seconds * 1e6;
    bool grace = false;
    for (now_us = start_us; over < count && now_us < until_us; now_us = clock_us()) {
        for (int batch = 0; begun < count && batch < 64; batch++) {
            struct connection *c = &connections[begun];
            c->due_us = start_us + begun * 1e6 / option.pace;
            if (c->due_us > now_us) break;
            begun++;
            begin(c);
        }
        if (settled == count && !grace) {
            grace = true;
            if (until_us > now_us + GRACE_US) until_us = now_us + GRACE_US;
        }
        int n = epoll_wait(epoll, events, 1024, begun < count ? 1 : 50);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->begun) readable(c);
            else connected(c);
        }
    }
}

static void report(void) {
    struct rusage used;
    double span_s = (last_us - first_us) / 1e6;
    long complete = 0;
    getrusage(RUSAGE_SELF, &used);
    for (long i = 0; i < count; i++) complete += connections[i].tokens == option.tokens;
    printf("{\"delivered\":%llu,\"bytes\":%llu,\"span_s\":%.3f,\"rate\":%.1f,", (unsigned long long)tokens,
           (unsigned long long)bytes, span_s, span_s > 0 ? tokens / span_s : 0.0);
    printf("\"p50_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f,\"counted\":%llu,",
           histogram_ms(&latency, .5), histogram_ms(&latency, .9), histogram_ms(&latency, .99),
           histogram_ms(&latency, .999), latency.max / 1e3, (unsigned long long)latency.count);
    printf("\"first_p50_ms\":%.3f,\"first_p99_ms\":%.3f,", histogram_ms(&first_token, .5),
           histogram_ms(&first_token, .99));
    printf("\"connections\":%ld,\"complete\":%ld,\"ended\":%llu,\"open\":%ld,\"refused\":%ld,\"closed_early\":%ld,"
           "\"bad_status\":%ld,\"malformed\":%ld,", count, complete, (unsigned long long)proper, count - over,
           failed.refused, failed.closed, failed.status, failed.malformed);
    printf("\"missing_or_doubled\":%llu,\"early\":%llu,\"requests\":%llu,\"reopened\":%llu,\"cpu_s\":%.3f,"
           "\"sample\":\"%s\"}\n",
           (unsigned long long)wrong_ids, (unsigned long long)early, (unsigned long long)requests,
           (unsigned long long)reopened, used.ru_utime.tv_sec + used.ru_stime.tv_sec +
           (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6, sample);
}

int main(int argc, char **argv) {
    struct rlimit files;
    if (argc < 3 || strlen(argv[2]) > 63 || !*argv[2]) refuse("usage", "streamload FILE MARKER key=number...");
    marker.text = argv[2];
    options(argv + 3);
    number_key.text = option.poll ? "],\"next\":" : option.ids ? "\nid: " : "";
    pattern_prepare(&marker);
    pattern_prepare(&number_key);
    pattern_prepare(&ended_key);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct reading *readings = load_readings(argv[1], &count);
    connections = calloc(count, sizeof *connections);
    for (long i = 0; i < count; i++) connections[i].reading = readings[i];
    run();
    report();
    return 0;
}
