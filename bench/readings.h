/*
 * What is asked of streamload: its options, and the readers in FILE, one per line: a URL on 127.0.0.1 and header lines,
 * with tabs between.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUEST_BYTES 16384

static struct {
    double seconds;  /* at most so long; the rest counts as open */
    double warmup;   /* latencies of tokens due in the first seconds are left out */
    double pace;     /* connections begun per second; not all at once, which would overflow listen queues */
    double tokens;   /* of each stream; 0: unknown */
    double ids;      /* 1: numbers behind "id: " must go up by one, from 1 */
    double poll;     /* 1: long polling: ask again with after=NEXT until it says that it ended */
    double websocket;  /* 1: what follows the answer are a WebSocket's frames */
    double repeat;   /* 1: ask again on the same connection until time is up; answers are only counted */
    double again;    /* seconds after which a stream that ended too early is asked for again, from its last id */
    double status;   /* the status that an answer must have; 0: whatever fits */
    double post;     /* 1: the last part of each line is the body of a POST */
} option = { .seconds = 30, .pace = 2000 };

struct reading {
    char *host, *path, *fields, *body;
    struct sockaddr_in address;
};

static void refuse(const char *what, const char *arg) {
    fprintf(stderr, "streamload: %s: %s\n", what, arg);
    exit(2);
}

static void parse(struct reading *r, char *line) {
    char *fields = strchr(line, '\t'), *out;
    if (strlen(line) > REQUEST_BYTES / 2) refuse("too long a request", line);
    if (strncmp(line, "http://127.0.0.1:", 17) || !(r->path = strchr(line + 17, '/'))) refuse("not a URL here", line);
    if (fields) *fields++ = 0;
    r->address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(atoi(line + 17)) };
    r->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    r->host = strndup(line + 7, r->path - line - 7);
    r->path = strdup(r->path);
    r->body = option.post && fields ? strrchr(fields, '\t') : NULL;
    if (r->body) *r->body++ = 0;
    r->body = strdup(r->body ? r->body : "");
    out = r->fields = calloc(1, fields ? 2 * strlen(fields) + 3 : 1);
    for (char *one = fields ? strtok(fields, "\t") : NULL; one; one = strtok(NULL, "\t"))
        out += sprintf(out, "%s\r\n", one);
}

/* Every line of the file. */
static struct reading *load_readings(const char *name, long *count) {
    struct reading *all = NULL;
    char *line = NULL;
    size_t size = 0;
    FILE *file = fopen(name, "r");
    if (!file) refuse("cannot open", name);
    for (*count = 0; getline(&line, &size, file) > 1; ++*count) {
        line[strcspn(line, "\n")] = 0;
        all = realloc(all, (*count + 1) * sizeof *all);
        all[*count] = (struct reading){ 0 };
        parse(&all[*count], line);
    }
    free(line);
    fclose(file);
    return all;
}

static void options(char **arguments) {
    static const struct { const char *name; double *value; } known[] = {
        { "seconds", &option.seconds }, { "warmup", &option.warmup }, { "pace", &option.pace },
        { "tokens", &option.tokens }, { "ids", &option.ids }, { "poll", &option.poll }, { "post", &option.post },
        { "websocket", &option.websocket }, { "repeat", &option.repeat }, { "status", &option.status },
        { "again", &option.again } };
    for (; *arguments; arguments++) {
        size_t i = 0, n = strcspn(*arguments, "=");
        while (i < sizeof known / sizeof *known &&
               (strlen(known[i].name) != n || strncmp(*arguments, known[i].name, n)))
            i++;
        if (i == sizeof known / sizeof *known || !(*arguments)[n]) refuse("no such option", *arguments);
        *known[i].value = atof(*arguments + n + 1);
    }
}
