/*
 * A stand-in for a model server, as bench/stand_in.py is, at a few microseconds a token: it shares the cores with what
 * is measured. Chat completions in OpenAI's shape; each token's text is the time at which it was due. One thread,
 * epoll, a timer for whatever is due next.
 *
 *   cc -O2 -o stand_in bench/stand_in.c && ./stand_in PORT
 *
 * "tokens" and "rate" come as extra fields of the body; the first token is due at once. Answers are chunked.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <netinet/tcp.h>

#define STREAMS 4096
#define REQUEST_BYTES 65536
#define RETRY_US 1000  /* for a reader that takes nothing now */
#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: "
#define MODELS "{\"object\":\"list\",\"data\":[" \
    "{\"id\":\"stand-in\",\"object\":\"model\",\"created\":0,\"owned_by\":\"bench\"}]}"
#define CHUNK \
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":0,\"model\":\"stand-in\",\"choices\":["

static struct stream {
    int fd;
    bool answering;
    long tokens, made;
    double interval_us;
    uint64_t first_us, due_us;  /* due_us: when the next write is */
    size_t request_bytes, out_bytes, out_at;
    char *request, out[1024];
} streams[STREAMS];

static int poller, timer, used;  /* used: streams that have ever been open */
static uint64_t now_us;

static uint64_t clock_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
}

static void drop(struct stream *s) {
    close(s->fd);
    free(s->request);
    *s = (struct stream){ .fd = -1 };
}

/* False: some of it is left for later, or the stream is gone. */
static bool flush(struct stream *s) {
    ssize_t n = send(s->fd, s->out + s->out_at, s->out_bytes - s->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN) { drop(s); return false; }
    if (n > 0) s->out_at += n;
    if (s->out_at == s->out_bytes) return true;
    s->due_us = now_us + RETRY_US;
    return false;
}

static uint64_t due_us(const struct stream *s) {
    return s->first_us + s->made * s->interval_us;
}

static void put_chunk(struct stream *s, const char *delta, const char *finish) {
    char data[400];
    int n = sprintf(data, CHUNK "{\"index\":0,\"delta\":%s,\"finish_reason\":%s}]}\n\n", delta, finish);
    s->out_bytes += sprintf(s->out + s->out_bytes, "%x\r\n%s\r\n", n, data);
}

/* What is due now, one write for each token, as a server makes them; after the last one the end. */
static void produce(struct stream *s) {
    while (s->answering && s->due_us <= now_us) {
        char delta[64];
        if (s->out_at < s->out_bytes && !flush(s)) return;
        s->out_at = s->out_bytes = 0;
        if (s->made > s->tokens) {
            s->answering = false;
            return;
        }
        if (s->made < s->tokens) {
            sprintf(delta, "{\"content\":\"%llu \"}", (unsigned long long)due_us(s));
            put_chunk(s, delta, "null");
        } else {
            put_chunk(s, "{}", "\"stop\"");
            s->out_bytes += sprintf(s->out + s->out_bytes, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
        }
        s->made++;
        s->due_us = s->made < s->tokens ? due_us(s) : now_us;
        if (!flush(s)) return;
    }
}

static double field(const char *body, const char *name, double otherwise) {
    const char *at = strstr(body, name);
    return at ? atof(at + strlen(name)) : otherwise;
}

static void complete(struct stream *s, const char *body) {
    s->tokens = field(body, "\"tokens\":", field(body, "\"max_tokens\":", 100));
    s->interval_us = 1e6 / field(body, "\"rate\":", 50);
    s->made = 0;
    s->first_us = s->due_us = now_us;
    s->answering = true;
    s->out_at = 0;
    s->out_bytes = sprintf(s->out, HEAD "text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    if (flush(s)) s->out_at = s->out_bytes = 0;
    produce(s);
}

/* One request at a time: nobody sends the next one before the answer. */
static void readable(struct stream *s) {
    ssize_t n = recv(s->fd, s->request + s->request_bytes, REQUEST_BYTES - 1 - s->request_bytes, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { drop(s); return; }
    s->request[s->request_bytes += n] = 0;
    char *end = strstr(s->request, "\r\n\r\n"), *length = strcasestr(s->request, "\r\ncontent-length:");
    if (!end) return;
    size_t body_bytes = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
    if (s->request_bytes < (size_t)(end + 4 - s->request) + body_bytes) return;
    s->request_bytes = 0;
    if (strncmp(s->request, "GET", 3)) { complete(s, end + 4); return; }
    s->out_at = 0;
    s->out_bytes = sprintf(s->out, HEAD "application/json\r\nContent-Length: %zu\r\n\r\n" MODELS, sizeof MODELS - 1);
    flush(s);
}

static void take(int listener) {
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return;
    for (int i = 0; i < STREAMS; i++) {
        if (streams[i].fd >= 0) continue;
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = &streams[i] };
        if (i == used) used++;
        streams[i] = (struct stream){ .fd = fd, .request = malloc(REQUEST_BYTES) };
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
        return;
    }
    close(fd);
}

static void set_timer(void) {
    uint64_t next_us = 0;
    for (int i = 0; i < used; i++)
        if (streams[i].answering && (!next_us || streams[i].due_us < next_us)) next_us = streams[i].due_us;
    struct itimerspec at = { .it_value = { next_us / 1000000, next_us % 1000000 * 1000 } };
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);  /* zero: no timer; one that is past fires at once */
}

int main(int argc, char **argv) {
    static struct epoll_event events[256];
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0) };
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) {
        perror("stand_in");
        return 1;
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event on_listener = { .events = EPOLLIN, .data.ptr = &listener };
    struct epoll_event on_timer = { .events = EPOLLIN, .data.ptr = &timer };
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &on_listener);
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &on_timer);
    for (int i = 0; i < STREAMS; i++) streams[i].fd = -1;
    for (;;) {
        int n = epoll_wait(poller, events, 256, -1);
        now_us = clock_us();
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &listener) take(listener);
            else if (events[i].data.ptr != &timer) readable(events[i].data.ptr);
        }
        for (int i = 0; i < used; i++)
            if (streams[i].answering) produce(&streams[i]);
        set_timer();
    }
}
