/*
 * What a WebSocket's client reads (RFC 6455, section 5): a server's frames, decoded as they come, cut anywhere. Pieces
 * of text are given out as they are there; control frames once they are whole, with their payload in `control`.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define CONTROL_BYTES 125  /* at most, section 5.5 */

enum opcode { CONTINUED, TEXT, BINARY, CLOSING = 8, PING, PONG };
enum found { FOUND_NOTHING, FOUND_DATA, FOUND_PING, FOUND_CLOSE, FOUND_WRONG };

struct frames {
    uint64_t left;  /* of the payload of the frame at hand */
    unsigned char head[10], head_bytes, control[CONTROL_BYTES], control_bytes;
};

static unsigned frame_head_length(const struct frames *f) {
    unsigned size = f->head[1] & 127;
    return f->head_bytes < 2 || size < 126 ? 2 : size == 126 ? 4 : 10;
}

/* False for what no server may send: masked, an extension that nobody asked for, a long or cut control frame. */
static bool frame_begins(struct frames *f) {
    unsigned opcode = f->head[0] & 15, length = frame_head_length(f);
    f->left = length == 2 ? f->head[1] : 0;
    for (unsigned i = 2; i < length; i++) f->left = f->left << 8 | f->head[i];
    f->control_bytes = 0;
    if (f->head[1] & 128 || f->head[0] & 0x70) return false;
    if (opcode < CLOSING) return opcode <= BINARY;
    return opcode <= PONG && f->head[0] & 128 && f->left <= CONTROL_BYTES;
}

/* What comes next in [*at, end), where it lies if it is data, and its length. Moves *at past what was used. */
static enum found next_frame(struct frames *f, const char **at, const char *end, const char **piece, size_t *n) {
    while (*at < end) {
        if (f->head_bytes < frame_head_length(f)) {
            f->head[f->head_bytes++] = *(*at)++;
            if (f->head_bytes < frame_head_length(f)) continue;
            if (!frame_begins(f)) return FOUND_WRONG;
        }
        unsigned opcode = f->head[0] & 15;
        *piece = *at;
        *n = (uint64_t)(end - *at) < f->left ? (size_t)(end - *at) : f->left;
        *at += *n;
        f->left -= *n;
        if (!f->left) f->head_bytes = 0;
        if (opcode < CLOSING && *n) return FOUND_DATA;
        if (opcode < CLOSING) continue;
        memcpy(f->control + f->control_bytes, *piece, *n);
        f->control_bytes += *n;
        if (!f->left && opcode != PONG) return opcode == PING ? FOUND_PING : FOUND_CLOSE;
    }
    return FOUND_NOTHING;
}

/* Why the server closes; 1005 is for a close that does not say (section 7.1.5). */
static unsigned close_code(const struct frames *f) {
    return f->control_bytes < 2 ? 1005 : f->control[0] << 8 | f->control[1];
}

/* The answer to a ping, or to a close: the same payload, under a mask of zeros, which is one as good as any here. */
static size_t control_answer(const struct frames *f, enum opcode opcode, unsigned char out[CONTROL_BYTES + 6]) {
    out[0] = 128 | opcode;
    out[1] = 128 | f->control_bytes;
    memset(out + 2, 0, 4);
    memcpy(out + 6, f->control, f->control_bytes);
    return f->control_bytes + 6;
}
