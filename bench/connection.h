/* One reader's connection, and what is found in the bytes that come on it: tokens, and the numbers of entries. */
#define STAMP_DIGITS 16

static struct pattern marker, number_key, ended_key = { .text = "\"ended\":true" };

struct connection {
    int fd;
    bool begun, over, complete, answered, ended, in_text, in_number;
    unsigned char marker_at, number_at, ended_at, digits;
    uint64_t stamp, number, last;  /* last: the id, or the cursor, that was seen */
    uint64_t tokens, due_us, asked_us, again_us;
    struct reading reading;
    struct answer answer;
    struct frames frames;
};

static uint64_t now_us;  /* of the last read */

static void settle(struct connection *c) {
    if (!c->complete) seen.settled++;
    c->complete = true;
}

static void token(struct connection *c, uint64_t due_us) {
    if (!c->tokens++) histogram_add(&first_token, now_us - c->due_us);
    seen.tokens++;
    seen.last_us = now_us;
    if (!seen.first_us) seen.first_us = now_us, seen.first_due_us = due_us;
    if (c->tokens == option.tokens) {
        seen.complete++;
        histogram_add(&served, now_us - c->due_us);
        settle(c);
    }
    if (now_us < due_us) seen.early++;
    if (due_us >= seen.first_due_us + option.warmup * 1e6)
        histogram_add(&latency, now_us > due_us ? now_us - due_us : 0);
}

static void number(struct connection *c, uint64_t value) {
    seen.entries++;
    if (option.ids && value != c->last + 1) seen.wrong_ids++;
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
