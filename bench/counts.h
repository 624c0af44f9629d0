/* What the readers saw, all together, and the JSON object that is made of it. */
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include "histogram.h"

static struct {
    long connections, over, settled;  /* settled: has all its tokens, or is over */
    uint64_t first_us, last_us, first_due_us;
    uint64_t tokens, entries, bytes, requests, answers, reopened, turned_away, early, wrong_ids, proper, complete;
    long refused, closed, status, malformed;
} seen;

static struct histogram latency, first_token, served;  /* served: from when it was due to its last token, or answer */
static char sample[400];  /* how the first stream ended that was not whole */

static void report_number(const char *name, uint64_t value) {
    printf("\"%s\":%llu,", name, (unsigned long long)value);
}

static void report_both(const char *name, const struct histogram *h) {
    printf("\"%s_p50_ms\":%.3f,\"%s_p99_ms\":%.3f,", name, histogram_ms(h, .5), name, histogram_ms(h, .99));
}

static void report(uint64_t start_us) {
    struct rusage used;
    double span_s = (seen.last_us - seen.first_us) / 1e6;
    double took_s = seen.last_us ? (seen.last_us - start_us) / 1e6 : 0.0;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"span_s\":%.3f,\"took_s\":%.3f,\"rate\":%.1f,", span_s, took_s,
           span_s > 0 ? seen.tokens / span_s : 0.0);
    printf("\"p50_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f,",
           histogram_ms(&latency, .5), histogram_ms(&latency, .9), histogram_ms(&latency, .99),
           histogram_ms(&latency, .999), latency.max / 1e3);
    report_both("first", &first_token);
    report_both("served", &served);
    report_number("delivered", seen.tokens);
    report_number("entries", seen.entries);
    report_number("bytes", seen.bytes);
    report_number("counted", latency.count);
    report_number("connections", seen.connections);
    report_number("complete", seen.complete);
    report_number("ended", seen.proper);
    report_number("open", seen.connections - seen.over);
    report_number("refused", seen.refused);
    report_number("closed_early", seen.closed);
    report_number("bad_status", seen.status);
    report_number("malformed", seen.malformed);
    report_number("missing_or_doubled", seen.wrong_ids);
    report_number("early", seen.early);
    report_number("requests", seen.requests);
    report_number("answers", seen.answers);
    report_number("reopened", seen.reopened);
    report_number("turned_away", seen.turned_away);
    printf("\"cpu_s\":%.3f,\"sample\":\"%s\"}\n", used.ru_utime.tv_sec + used.ru_stime.tv_sec +
           (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6, sample);
}
