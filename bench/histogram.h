/* Latencies in microseconds, in buckets that are at most 1/64 wide (1.6 %), up to two minutes. */
#include <stdint.h>

#define SUB 64
#define BUCKETS (22 * SUB)

struct histogram { uint64_t count, max, bucket[BUCKETS]; };

static void histogram_add(struct histogram *h, uint64_t us) {
    int above = us < SUB ? 0 : 57 - __builtin_clzll(us);  /* how far it is shifted to leave 7 bits */
    uint64_t index = (uint64_t)above * SUB + (us >> above);
    h->bucket[index < BUCKETS ? index : BUCKETS - 1]++;
    h->count++;
    if (us > h->max) h->max = us;
}

/* The value that the part q of all does not exceed, in milliseconds: the middle of its bucket. */
static double histogram_ms(const struct histogram *h, double q) {
    uint64_t seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += h->bucket[i];
        if (!h->count || seen <= q * h->count) continue;
        int above = i < 2 * SUB ? 0 : i / SUB - 1;
        double low = (double)((uint64_t)(i - above * SUB) << above);
        double middle = low + ((1ULL << above) - 1) / 2.0;
        return (middle < h->max ? middle : h->max) / 1e3;
    }
    return h->max / 1e3;
}
