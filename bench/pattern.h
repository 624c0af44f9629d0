/*
 * Finds a text in a stream that may be cut anywhere: one byte at a time, and all that is kept between two reads is how
 * much of it matched last (Knuth, Morris, Pratt).
 */
#include <stdbool.h>
#include <string.h>

struct pattern { const char *text; unsigned char length, back[64]; };

static void pattern_prepare(struct pattern *p) {
    p->length = strlen(p->text);
    for (unsigned i = 1, k = 0; i < p->length; i++) {
        while (k && p->text[i] != p->text[k]) k = p->back[k - 1];
        k += p->text[i] == p->text[k];
        p->back[i] = k;  /* if the byte behind i does not fit, this many bytes before it still do */
    }
}

/* Whether the pattern ends with this byte; *at is how much of it had matched before. */
static bool matches(const struct pattern *p, unsigned char *at, char byte) {
    while (*at && p->text[*at] != byte) *at = p->back[*at - 1];
    if (p->text[*at] == byte) ++*at;
    if (*at < p->length) return false;
    *at = p->back[p->length - 1];
    return true;
}
