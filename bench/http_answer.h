/*
 * An HTTP/1.1 answer, decoded as it comes: whatever a read holds, next_piece() gives the parts of the body in it. The
 * three framings of RFC 9112, section 6: chunked, of a known length, and up to the connection's end.
 */
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum answer_state { STATUS_LINE, FIELDS, LENGTH, TO_CLOSE, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, OVER, BROKEN };

struct answer {
    enum answer_state state;
    int status;
    bool chunked;
    long long left;      /* bytes of this chunk, or of the body; -1: no length was given */
    unsigned line_bytes;
    char line[120];      /* the line so far; what is longer is cut, no field of interest is */
};

static void answer_begin(struct answer *a) {
    *a = (struct answer){ .state = STATUS_LINE, .left = -1 };
}

static bool field_is(const char *line, const char *name, const char **value) {
    size_t n = strlen(name);
    if (strncasecmp(line, name, n) || line[n] != ':') return false;
    for (*value = line + n + 1; **value == ' '; ) ++*value;
    return true;
}

static enum answer_state after_fields(const struct answer *a) {
    if (a->status == 101) return TO_CLOSE;  /* what follows is another protocol's */
    if (a->status / 100 == 1) return STATUS_LINE;  /* 100 Continue and the like: the real one follows */
    if (a->status == 204 || a->status == 304) return OVER;
    if (a->chunked) return CHUNK_SIZE;
    return a->left < 0 ? TO_CLOSE : a->left ? LENGTH : OVER;
}

static void take_line(struct answer *a) {
    const char *value;
    char *end;
    bool empty = !a->line[0];
    switch (a->state) {
    case STATUS_LINE:
        a->status = strncmp(a->line, "HTTP/1.", 7) || strlen(a->line) < 12 ? 0 : atoi(a->line + 9);
        a->state = a->status ? FIELDS : BROKEN;
        break;
    case FIELDS:
        if (empty) a->state = after_fields(a);
        else if (field_is(a->line, "content-length", &value)) a->left = strtoll(value, NULL, 10);
        else if (field_is(a->line, "transfer-encoding", &value)) a->chunked = !strcasecmp(value, "chunked");
        break;
    case CHUNK_SIZE:
        a->left = strtoll(a->line, &end, 16);
        if (end == a->line || a->left < 0) a->state = BROKEN;
        else a->state = a->left ? CHUNK : TRAILER;
        break;
    case CHUNK_END: a->state = empty ? CHUNK_SIZE : BROKEN; break;
    case TRAILER: if (empty) a->state = OVER; break;
    default: break;
    }
}

static void take_line_byte(struct answer *a, char byte) {
    if (byte != '\n') {
        if (a->line_bytes < sizeof a->line - 1) a->line[a->line_bytes++] = byte;
        return;
    }
    if (a->line_bytes && a->line[a->line_bytes - 1] == '\r') a->line_bytes--;
    a->line[a->line_bytes] = 0;
    a->line_bytes = 0;
    take_line(a);
}

/* The next part of the body in [*at, end), and its length; NULL once there is none. Moves *at past what was used. */
static const char *next_piece(struct answer *a, const char **at, const char *end, size_t *n) {
    while (*at < end && a->state != OVER && a->state != BROKEN) {
        if (a->state != LENGTH && a->state != TO_CLOSE && a->state != CHUNK) {
            take_line_byte(a, *(*at)++);
            continue;
        }
        const char *piece = *at;
        *n = end - *at;
        if (a->state != TO_CLOSE) {
            if ((long long)*n > a->left) *n = a->left;
            a->left -= *n;
            if (!a->left) a->state = a->state == CHUNK ? CHUNK_END : OVER;
        }
        *at += *n;
        return piece;
    }
    return NULL;
}
