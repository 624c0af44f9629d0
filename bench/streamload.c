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
#include "counts.h"
#include "http_answer.h"
#include "pattern.h"
#include "readings.h"
#include "websocket.h"
#include "connection.h"  /* needs the others */

#define GRACE_US 1000000  /* for streams that have all their tokens to end by themselves */

static struct connection *connections, **away;  /* away: a queue of those that come again, each in it once at most */
static long away_first, away_end;
static long begun;
static int epoll;
static char input[256 * 1024];
static ssize_t input_bytes;

static uint64_t clock_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
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
    else seen.proper++;
    settle(c);
    c->over = true;
    seen.over++;
    close(c->fd);
}

static void ask(struct connection *c) {
    static char request[REQUEST_BYTES];
    int n = snprintf(request, sizeof request, "%s %s", option.post ? "POST" : "GET", c->reading.path);
    if (option.poll) n += sprintf(request + n, "&after=%llu", (unsigned long long)c->last);
    n += snprintf(request + n, sizeof request - n, " HTTP/1.1\r\nHost: %s\r\n%s", c->reading.host, c->reading.fields);
    if (option.again)
        n += snprintf(request + n, sizeof request - n, "Last-Event-ID: %llu\r\n", (unsigned long long)c->last);
    if (option.post) n += snprintf(request + n, sizeof request - n, "Content-Length: %zu\r\n", strlen(c->reading.body));
    n += snprintf(request + n, sizeof request - n, "\r\n%s", option.post ? c->reading.body : "");
    answer_begin(&c->answer);
    c->marker_at = c->ended_at = c->digits = 0;
    c->in_text = c->in_number = false;
    c->stamp = 0;
    c->number_at = *number_key.text == '\n';  /* a body's first line follows on no newline */
    seen.requests++;
    c->asked_us = now_us;
    if (write(c->fd, request, n) != n) finish(c, &seen.closed);
}

static void begin(struct connection *c) {
    int one = 1;
    struct epoll_event event = { .events = EPOLLOUT, .data.ptr = c };
    c->begun = false;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if ((connect(c->fd, (struct sockaddr *)&c->reading.address, sizeof c->reading.address) && errno != EINPROGRESS) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event))
        finish(c, &seen.refused);
}

static void connected(struct connection *c) {
    int error = 0;
    socklen_t size = sizeof error;
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) { finish(c, &seen.refused); return; }
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
    c->begun = true;
    ask(c);
}

static void hung_up(struct connection *c) {
    bool nothing = c->answer.state == STATUS_LINE && !c->answer.line_bytes;
    if (((option.poll && c->last) || (option.repeat && c->answered)) && nothing) {
        seen.reopened++;  /* between two requests a server may close */
        close(c->fd);
        begin(c);
    } else {
        finish(c, c->answer.state == TO_CLOSE && !option.websocket ? NULL : &seen.closed);
    }
}

static void answer_control(struct connection *c, enum opcode opcode) {
    unsigned char out[CONTROL_BYTES + 6];
    size_t n = control_answer(&c->frames, opcode, out);
    if (write(c->fd, out, n) != (ssize_t)n) finish(c, &seen.closed);
}

static void scan_frames(struct connection *c, const char *at, const char *end) {
    const char *piece;
    size_t n;
    enum found found;
    while (!c->over && (found = next_frame(&c->frames, &at, end, &piece, &n)) != FOUND_NOTHING) {
        if (found == FOUND_DATA) scan(c, piece, piece + n);
        else if (found == FOUND_PING) answer_control(c, PONG);
        else if (found == FOUND_WRONG) finish(c, &seen.malformed);
        else answer_control(c, CLOSING), c->ended = true;
        if (c->ended && !c->over) finish(c, close_code(&c->frames) == 1000 ? NULL : &seen.closed);
    }
}

static bool is_wanted(int status) {
    if (option.status) return status == option.status;
    return option.websocket ? status == 101 : status == 200 || status == 201;
}

static void come_again(struct connection *c) {
    seen.turned_away++;
    close(c->fd);
    c->again_us = now_us + option.again * 1e6;
    away[away_end++ % seen.connections] = c;
}

static void answered(struct connection *c) {
    c->answered = true;
    seen.answers++;
    if (option.again && c->tokens < option.tokens) { come_again(c); return; }
    if (!option.repeat && (!option.poll || c->ended)) { finish(c, NULL); return; }
    if (option.repeat) {
        histogram_add(&served, now_us - c->asked_us);
        seen.last_us = now_us;
    }
    ask(c);
}

static void readable(struct connection *c) {
    ssize_t n = input_bytes = read(c->fd, input, sizeof input);
    if (n < 0 && errno == EAGAIN) return;
    now_us = clock_us();
    if (n <= 0) { hung_up(c); return; }
    seen.bytes += n;
    size_t length;
    const char *at = input, *piece;
    while (!c->over && (piece = next_piece(&c->answer, &at, input + n, &length))) {
        if (!is_wanted(c->answer.status)) break;
        if (option.websocket) scan_frames(c, piece, piece + length);
        else if (!option.repeat) scan(c, piece, piece + length);
    }
    enum answer_state state = c->answer.state;
    if (c->over) return;
    if (state == BROKEN) finish(c, &seen.malformed);
    else if (state > FIELDS && !is_wanted(c->answer.status)) finish(c, &seen.status);
    else if (state == OVER) answered(c);
}

/* ---- the run ---- */

static void run(uint64_t start_us) {
    static struct epoll_event events[1024];
    uint64_t until_us = start_us + option.seconds * 1e6;
    long count = seen.connections;
    bool grace = false;
    for (now_us = start_us; seen.over < count && now_us < until_us; now_us = clock_us()) {
        for (int batch = 0; begun < count && batch < 64; batch++) {
            struct connection *c = &connections[begun];
            c->due_us = start_us + begun * 1e6 / option.pace;
            if (c->due_us > now_us) break;
            begun++;
            begin(c);
        }
        while (away_first < away_end && away[away_first % count]->again_us <= now_us)
            begin(away[away_first++ % count]);
        if (seen.settled == count && !grace) {
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

int main(int argc, char **argv) {
    struct rlimit files;
    if (argc < 3 || strlen(argv[2]) > 63 || !*argv[2]) refuse("usage", "streamload FILE MARKER key=number...");
    marker.text = argv[2];
    options(argv + 3);
    number_key.text = option.poll ? "],\"next\":" : !option.ids ? "" : option.websocket ? "{\"id\":" : "\nid: ";
    pattern_prepare(&marker);
    pattern_prepare(&number_key);
    pattern_prepare(&ended_key);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct reading *readings = load_readings(argv[1], &seen.connections);
    connections = calloc(seen.connections, sizeof *connections);
    away = calloc(seen.connections, sizeof *away);
    for (long i = 0; i < seen.connections; i++) connections[i].reading = readings[i];
    uint64_t start_us = clock_us();
    run(start_us);
    report(start_us);
    return 0;
}
