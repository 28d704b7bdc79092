/* wsload: a load generator for servers that take POSTs and push what they say to websockets. Linux, loopback only.
 *
 *   cc -O2 -o wsload wsload.c
 *   wsload --option value ...
 *
 * One thread, one epoll. It opens agents x devices websockets, then posts over keep-alive connections, and each frame
 * that comes back tells how long its event was under way. Prints one line of JSON, and before that a word on a line of
 * its own whenever a phase begins: "connected", "hold", "held", "measure", "measured".
 *
 * Templates (paths, heads, body, frames): %a agent, %d device, %t the time at which the post was due, in microseconds
 * modulo 2^31 (so that it fits an int32), %B base64 of "a<agent>:x" (Basic credentials), %% a percent sign.
 *
 *   --wsport --wspath --wshead --subproto      where and how a websocket is opened
 *   --wsfirst                                  a frame that is sent once it is open; up to four times
 *   --httpport --httppath --httphead --body    what is posted; the body holds one event
 *   --key                                      what stands before each event's %t in a frame
 *   --agents --devices --from                  websockets; agents are numbered from --from on
 *   --window                                   so many handshakes (with --catchup: catch-ups) at a time
 *   --connectlimit                             seconds for all of them
 *   --catchup N                                a websocket is up once N events have come to it unasked
 *   --unwanted TEXT                            frames with TEXT in them are counted
 *   --hold                                     seconds in which nothing is done but answer pings
 *   --publishers                               connections that post; 0: nothing is posted
 *   --rate R                                   open loop: R posts a second are due, whatever the server does. What is
 *                                              due waits without limit for a free connection, and every latency counts
 *                                              from when it was due. 0: closed loop, each answer is followed by a post
 *   --outstanding N                            closed loop: never more than N posts whose events have not all come
 *   --batch N                                  N events a post: the body's array is filled up with events whose %t is
 *                                              a negative number that never comes again
 *   --unique 1                                 each post has a head of its own, X-Request-Id: <counter>
 *   --warmup --duration                        seconds of load, without and with figures
 *   --drain                                    seconds to wait at most for what is missing after either
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define CLOCK_MASK 0x7fffffffu
#define MOST_BYTES (1 << 22) /* of a frame, an answer or a request */
#define PER_ADDRESS 5000     /* websockets from one source address, so that ports do not run out */
#define LATE_US 1000
#define PAUSE_US 20000
#define SETTLE_US 500000

static struct {
    const char *wspath, *wshead, *wsfirst[4], *subproto, *httppath, *httphead, *body, *key, *unwanted;
    int wsport, httpport, agents, devices, from, window, catchup;
    int publishers, outstanding, batch, unique;
    double connectlimit, hold, rate, warmup, duration, drain;
} o = {
    .wspath = "/ws", .wshead = "", .httppath = "/", .httphead = "", .body = "{}", .key = "\"Id\":",
    .wsport = 8000, .httpport = 8000, .agents = 1000, .devices = 3, .window = 256, .publishers = 16, .batch = 1,
    .connectlimit = 120, .duration = 5, .drain = 5,
};

static void die(const char *what) {
    fprintf(stderr, "wsload: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + t.tv_nsec / 1000;
}

static void say(const char *phase) {
    puts(phase);
    fflush(stdout);
}

/* ---- latencies: a histogram of microseconds, exact to 1 us below 1024 us and to 0.2 % above --------------------- */

#define SLOTS 16384
typedef struct {
    uint64_t count[SLOTS], total, most, pauses;
} histogram;

static histogram pushes, answers, catchups;

static int slot(uint64_t us) {
    if (us < 1024) return (int)us;
    int shift = 54 - __builtin_clzll(us); /* leaves a number from 512 to 1023 */
    return (shift << 9) + (int)(us >> shift);
}

static uint64_t highest(int s) { /* the highest value of a slot */
    if (s < 1024) return s;
    int shift = (s >> 9) - 1;
    return (((uint64_t)(s & 511) + 513) << shift) - 1;
}

static void note(histogram *h, uint64_t us) {
    h->count[slot(us)]++;
    h->total++;
    if (us > h->most) h->most = us;
    if (us > PAUSE_US) h->pauses++;
}

static void print_ms(const char *name, const histogram *h, double quantile) {
    uint64_t sum = 0, value = h->most;
    for (int s = 0; s < SLOTS && quantile < 1; s++) {
        sum += h->count[s];
        if (sum >= quantile * h->total) {
            value = highest(s) < h->most ? highest(s) : h->most;
            break;
        }
    }
    if (h->total) printf(",\"%s\":%.3f", name, value / 1000.0);
    else printf(",\"%s\":null", name);
}

/* ---- templates, taken apart once -------------------------------------------------------------------------------- */

typedef struct {
    struct { char kind; const char *text; int len; } parts[48]; /* kind 0: the text as it is */
    int count;
} template;

typedef struct {
    int agent, device;
    int64_t event;
} values;

static template wspath, wshead, wsfirst[4], httppath, httphead, body_before, body_event, body_after;

static void take_apart(template *t, const char *text, int len) {
    for (int i = 0; i < len;) {
        if (t->count == 48) die("a template has too many parts");
        int start = i, escaped = text[i] == '%' && i + 1 < len;
        if (escaped && strchr("adBt", text[i + 1])) {
            t->parts[t->count].kind = text[i + 1];
            i += 2;
        } else {
            if (escaped) start = i + 1, i += 2;
            else i++;
            while (i < len && text[i] != '%') i++;
            t->parts[t->count].text = text + start;
            t->parts[t->count].len = i - start;
        }
        t->count++;
    }
}

static int number(char *out, int64_t n) {
    char digits[24];
    int i = sizeof digits, minus = n < 0;
    uint64_t left = minus ? -(uint64_t)n : (uint64_t)n;
    do digits[--i] = '0' + left % 10;
    while (left /= 10);
    if (minus) digits[--i] = '-';
    memcpy(out, digits + i, sizeof digits - i);
    return sizeof digits - i;
}

static int credentials(char *out, int agent) { /* base64 of "a<agent>:x" */
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char in[32] = {0};
    int len = sprintf((char *)in, "a%d:x", agent), n = 0;
    in[len] = 0;
    for (int i = 0; i < len; i += 3) {
        unsigned v = in[i] << 16 | in[i + 1] << 8 | in[i + 2];
        out[n++] = letters[v >> 18];
        out[n++] = letters[v >> 12 & 63];
        out[n++] = i + 1 < len ? letters[v >> 6 & 63] : '=';
        out[n++] = i + 2 < len ? letters[v & 63] : '=';
    }
    return n;
}

/* Appends a filled template at `at` and returns the end. `limit` leaves room for any one value. */
static char *fill(char *at, const char *limit, const template *t, const values *v) {
    for (int i = 0; i < t->count; i++) {
        int len = t->parts[i].len;
        if (limit - at < len + 64) errno = 0, die("a request is too long");
        switch (t->parts[i].kind) {
        case 'a': at += number(at, v->agent); break;
        case 'd': at += number(at, v->device); break;
        case 't': at += number(at, v->event); break;
        case 'B': at += credentials(at, v->agent); break;
        default: memcpy(at, t->parts[i].text, len); at += len;
        }
    }
    return at;
}

/* The body's one event stands between its first [ and its last ], and is repeated where a batch is asked for. */
static void take_body_apart(void) {
    int len = (int)strlen(o.body);
    const char *open = strchr(o.body, '['), *close = strrchr(o.body, ']');
    if (o.batch == 1) {
        take_apart(&body_event, o.body, len);
        return;
    }
    if (!open || !close || close < open) errno = 0, die("--batch: the body has no array");
    take_apart(&body_before, o.body, (int)(open + 1 - o.body));
    take_apart(&body_event, open + 1, (int)(close - open - 1));
    take_apart(&body_after, close, (int)(o.body + len - close));
}

/* ---- connections -------------------------------------------------------------------------------------------------*/

enum kind { TIMER, WS, HTTP };
enum state { CONNECTING, HANDSHAKE, OPEN, IDLE, WAITING, CLOSING, GONE };
typedef struct {
    int fd, agent, device, events; /* events: so many have come to this websocket */
    enum kind kind;
    enum state state;
    uint64_t since; /* dialled, or the post was due */
    char *rest;     /* read, and not a whole frame or answer yet */
    int rest_len;
} conn;

static int poller;
static long opened, failed, closed, caught_up, other_frames, unwanted;
static long posted, ok, bad, lost, redialled, late; /* posts: sent, and what became of them */
static long frames;                                 /* events that came back */
static long waiting, idle;                          /* publishers */
static int loading, measuring, may_post;

static int expected_each(void) { return o.devices * o.batch; }
static long missing(void) { return ok * expected_each() - frames; }
static void feed(void);

static void dial(conn *c, int port, long source) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (source) {
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)source)};
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fd, (void *)&from, sizeof from)) die("bind");
    }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(fd, (void *)&to, sizeof to) && errno != EINPROGRESS) die("connect");
    c->fd = fd;
    c->state = CONNECTING;
    c->since = now_us();
    c->rest_len = 0;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e)) die("epoll_ctl");
}

static void send_all(conn *c, const char *p, long n) {
    while (n > 0) {
        long sent = send(c->fd, p, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            struct pollfd writable = {.fd = c->fd, .events = POLLOUT};
            if (poll(&writable, 1, 10000) == 0) errno = 0, die("the server has read nothing for 10 s");
        } else if (sent < 0) return; /* the end of the connection is read, and counted, as an event */
        else p += sent, n -= sent;
    }
}

static void hang_up(conn *c) {
    close(c->fd); /* leaves the epoll as well */
    c->state = GONE;
}

/* ---- websockets ------------------------------------------------------------------------------------------------- */

static void ws_ask(conn *c) {
    static char m[1 << 16], *limit = m + sizeof m;
    values v = {c->agent, c->device, 0};
    char *at = m + sprintf(m, "GET ");
    at = fill(at, limit, &wspath, &v);
    at += sprintf(at, " HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n", o.wsport);
    if (o.subproto) at += sprintf(at, "Sec-WebSocket-Protocol: %s\r\n", o.subproto);
    at = fill(at, limit, &wshead, &v);
    at += sprintf(at, wshead.count ? "\r\n\r\n" : "\r\n");
    send_all(c, m, at - m);
    c->state = HANDSHAKE;
}

static void ws_send(conn *c, int opcode, const char *p, long n) {
    static char f[1 << 16];
    int head = n < 126 ? 2 : 4;
    if (n > 65000) errno = 0, die("a frame to be sent is too long");
    f[0] = (char)(0x80 | opcode);
    f[1] = (char)(0x80 | (n < 126 ? n : 126));
    if (head == 4) f[2] = (char)(n >> 8), f[3] = (char)n;
    memset(f + head, 0, 4); /* masked, as a client has to, by nothing */
    memcpy(f + head + 4, p, n);
    send_all(c, f, head + 4 + n);
}

static long ws_opened(conn *c, const char *p, long n) { /* the bytes of the handshake's answer, 0: not whole yet */
    const char *end = memmem(p, n, "\r\n\r\n", 4);
    if (!end) return 0;
    if (n < 12 || memcmp(p + 9, "101", 3)) {
        if (!failed++) fprintf(stderr, "wsload: first handshake refused: %.*s\n", (int)(n < 300 ? n : 300), p);
        hang_up(c);
        return n;
    }
    c->state = OPEN;
    opened++;
    values v = {c->agent, c->device, 0};
    static char m[1 << 16];
    for (int i = 0; i < 4 && o.wsfirst[i]; i++) ws_send(c, 1, m, fill(m, m + sizeof m, &wsfirst[i], &v) - m);
    return end + 4 - p;
}

/* Counts the events of a message; those with a time tell their latency, those of a batch's rest are negative. */
static void ws_message(conn *c, const char *p, long n) {
    static size_t key_len;
    if (!key_len) key_len = strlen(o.key);
    const char *end = p + n;
    long found = 0;
    uint64_t now = now_us();
    for (const char *at = p; (at = memmem(at, end - at, o.key, key_len));) {
        at += key_len;
        while (at < end && (*at == ' ' || *at == '\\' || *at == '"')) at++;
        found++;
        if (at < end && *at == '-') continue;
        uint32_t due = 0;
        while (at < end && *at >= '0' && *at <= '9') due = due * 10 + (*at++ - '0');
        if (measuring) note(&pushes, ((uint32_t)now - due) & CLOCK_MASK);
    }
    if (!found) other_frames++;
    if (o.unwanted && memmem(p, n, o.unwanted, strlen(o.unwanted))) unwanted++;
    if (loading) frames += found;
    else if (o.catchup && c->events < o.catchup && c->events + found >= o.catchup) {
        caught_up++;
        note(&catchups, now - c->since);
    }
    c->events += (int)found;
    if (loading && o.outstanding) feed();
}

static long ws_frames(conn *c, char *p, long n) { /* returns the bytes of whole frames */
    long at = 0;
    while (c->state == OPEN && n - at >= 2) {
        unsigned char *b = (unsigned char *)p + at;
        long len = b[1] & 127, head = len == 126 ? 4 : len == 127 ? 10 : 2;
        if (n - at < head) break;
        if (head == 4) len = b[2] << 8 | b[3];
        if (head == 10) for (len = 0, b += 2; b < (unsigned char *)p + at + 10; b++) len = len << 8 | *b;
        if (n - at < head + len) break;
        int first = (unsigned char)p[at], opcode = first & 15;
        char *payload = p + at + head;
        if (!(first & 0x80) || opcode == 0) errno = 0, die("a message in several frames, which is not counted here");
        if (opcode == 9) ws_send(c, 10, payload, len);
        else if (opcode <= 2) ws_message(c, payload, len);
        at += head + len;
    }
    return at;
}

/* ---- posts ------------------------------------------------------------------------------------------------------ */

static conn *publishers;
static uint64_t began; /* of the load */
static long due_total, due_next;
static int timer;

static unsigned random_number(void) { /* xorshift, the same in every run */
    static uint64_t x = 88172645463325252ull;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return x >> 16;
}

static void post(conn *c, uint64_t due) {
    static char body[MOST_BYTES], m[MOST_BYTES + (1 << 16)];
    static int64_t serial, filler;
    values v = {o.from + (int)(random_number() % o.agents), 0, due & CLOCK_MASK};
    char *limit = body + sizeof body, *end = fill(body, limit, &body_before, &v);
    for (int i = 0; i < o.batch; i++) {
        if (i) *end++ = ',', v.event = -1 - filler++ % CLOCK_MASK;
        end = fill(end, limit, &body_event, &v);
    }
    end = fill(end, limit, &body_after, &v);
    char *at = m + sprintf(m, "POST ");
    at = fill(at, m + sizeof m, &httppath, &v);
    at += sprintf(at, " HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n", o.httpport);
    if (o.unique) at += sprintf(at, "X-Request-Id: %lld\r\n", (long long)++serial);
    at = fill(at, m + (1 << 16), &httphead, &v);
    at += sprintf(at, "%sContent-Length: %ld\r\n\r\n", httphead.count ? "\r\n" : "", (long)(end - body));
    memcpy(at, body, end - body);
    c->state = WAITING;
    c->since = due;
    posted++, waiting++, idle--;
    send_all(c, m, at + (end - body) - m);
}

static void arm(uint64_t due) {
    struct itimerspec at = {.it_value = {.tv_sec = due / 1000000, .tv_nsec = due % 1000000 * 1000}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static conn *free_publisher(void) {
    static int next;
    for (int i = 0; i < o.publishers; i++) {
        conn *c = &publishers[next];
        next = (next + 1) % o.publishers;
        if (c->state == IDLE) return c;
    }
    return NULL;
}

/* Posts whatever is due, as far as connections are free. */
static void feed(void) {
    while (may_post && idle) {
        uint64_t now = now_us(), due = now;
        if (o.rate > 0) {
            if (due_next >= due_total) return;
            due = began + (uint64_t)(due_next * 1e6 / o.rate);
            if (due > now) {
                arm(due);
                return;
            }
            if (now - due > LATE_US) late++;
            due_next++;
        } else if (o.outstanding && (posted - bad - lost - o.outstanding) * expected_each() >= frames) return;
        conn *c = free_publisher();
        if (!c) errno = 0, die("the number of free connections is wrong");
        post(c, due);
    }
}

static long http_answer(conn *c, const char *p, long n) { /* the bytes of a whole answer, 0: not whole yet */
    const char *end = memmem(p, n, "\r\n\r\n", 4), *length;
    if (!end) return 0;
    long head = end + 4 - p, body = 0;
    char lines[8192];
    long kept = head < (long)sizeof lines ? head : (long)sizeof lines - 1;
    memcpy(lines, p, kept);
    lines[kept] = 0;
    if (strcasestr(lines, "\r\ntransfer-encoding: chunked")) {
        const char *last = n >= head + 5 && !memcmp(p + n - 5, "0\r\n\r\n", 5) ? p + n : NULL;
        if (!last) return 0;
        body = last - p - head;
    } else if ((length = strcasestr(lines, "\r\ncontent-length:"))) body = atol(length + 17);
    if (n < head + body) return 0;
    waiting--;
    if (lines[9] == '2') ok++;
    else if (!bad++) fprintf(stderr, "wsload: first bad answer: %.*s\n", (int)(n < 400 ? n : 400), p);
    if (measuring) note(&answers, now_us() - c->since);
    c->state = strcasestr(lines, "\r\nconnection: close") ? CLOSING : IDLE;
    idle += c->state == IDLE;
    return head + body;
}

/* ---- what happens ----------------------------------------------------------------------------------------------- */

static void ended(conn *c) {
    enum state was = c->state;
    hang_up(c);
    if (c->kind == WS) {
        if (was == OPEN) closed++;
        else if (!failed++) fprintf(stderr, "wsload: first handshake cut off\n");
        return;
    }
    if (was == WAITING) lost++, waiting--;
    if (was == IDLE) idle--;
    if (was != CONNECTING) { /* a server may end a connection between two requests */
        redialled++;
        dial(c, o.httpport, 0);
    }
}

static void readable(conn *c) {
    static char b[MOST_BYTES];
    if (c->rest_len) memcpy(b, c->rest, c->rest_len);
    long n = read(c->fd, b + c->rest_len, sizeof b - c->rest_len);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        ended(c);
        return;
    }
    n += c->rest_len;
    long used = 0;
    if (c->state == HANDSHAKE) used = ws_opened(c, b, n);
    if (c->state == OPEN) used += ws_frames(c, b + used, n - used);
    else if (c->kind == HTTP && c->state == WAITING) used = http_answer(c, b, n);
    if (c->state == GONE) return;
    if (n - used == (long)sizeof b) errno = 0, die("a frame or an answer is too long");
    if (n - used > c->rest_len) c->rest = realloc(c->rest, n - used);
    c->rest_len = (int)(n - used);
    if (c->rest_len) memcpy(c->rest, b + used, c->rest_len);
    if (c->kind == HTTP && c->state == IDLE) feed();
}

static void writable(conn *c) { /* once: the connection stands */
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
    if (c->kind == WS) ws_ask(c);
    else {
        c->state = IDLE;
        idle++;
        feed();
    }
}

static void pump(int timeout_ms) {
    struct epoll_event ev[512];
    int n = epoll_wait(poller, ev, 512, timeout_ms);
    for (int i = 0; i < n; i++) {
        conn *c = ev[i].data.ptr;
        if (c->kind == TIMER) {
            uint64_t times;
            if (read(c->fd, &times, sizeof times) > 0) feed();
            continue;
        }
        int error = (ev[i].events & (EPOLLERR | EPOLLHUP)) != 0;
        if (c->state == CONNECTING && (ev[i].events & EPOLLOUT) && !error) writable(c);
        if ((ev[i].events & EPOLLIN) || error) readable(c);
    }
}

static void pump_for(double seconds) {
    for (uint64_t until = now_us() + (uint64_t)(seconds * 1e6); now_us() < until;) pump(10);
}

/* ---- phases ----------------------------------------------------------------------------------------------------- */

static double connect_all(void) {
    long total = (long)o.agents * o.devices, started = 0, up = 0;
    conn *all = calloc(total + 1, sizeof *all);
    uint64_t start = now_us(), limit = start + (uint64_t)(o.connectlimit * 1e6);
    while (up + failed < total && now_us() < limit) {
        for (; started < total && started - up - failed < o.window; started++) {
            conn *c = &all[started];
            c->kind = WS;
            c->agent = o.from + (int)(started % o.agents);
            c->device = (int)(started / o.agents);
            dial(c, o.wsport, total > PER_ADDRESS ? 1 + started / PER_ADDRESS : 0);
        }
        pump(100);
        up = o.catchup ? caught_up : opened;
    }
    return (now_us() - start) / 1e6;
}

static void hold(void) {
    pump_for(SETTLE_US / 1e6);
    if (o.hold <= 0) return;
    say("hold");
    pump_for(o.hold);
    say("held");
}

static void dial_publishers(void) {
    publishers = calloc(o.publishers + 1, sizeof *publishers);
    for (int i = 0; i < o.publishers; i++) {
        publishers[i].kind = HTTP;
        dial(&publishers[i], o.httpport, 0);
    }
    for (uint64_t limit = now_us() + 3000000; idle < o.publishers;) {
        pump(10);
        if (now_us() > limit) errno = 0, die("not all connections for posts were accepted within 3 s");
    }
}

static void load(double seconds) {
    began = now_us();
    due_next = 0;
    due_total = (long)(seconds * o.rate);
    may_post = 1;
    feed();
    for (uint64_t until = began + (uint64_t)(seconds * 1e6), now; (now = now_us()) < until;) {
        long left_ms = (long)(until - now + 999) / 1000;
        pump(left_ms < 10 ? (int)left_ms : 10);
    }
    may_post = o.rate > 0; /* what was due and not sent is owed still */
}

static void drain(void) {
    uint64_t until = now_us() + (uint64_t)(o.drain * 1e6);
    while (now_us() < until && (missing() > 0 || waiting || due_next < due_total)) pump(1);
    may_post = 0;
}

static double cpu_s(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static struct { double elapsed_s, cpu, posts_per_s, frames_per_s; } measured;

static void measure(void) {
    loading = 1;
    dial_publishers();
    if (o.warmup > 0) {
        load(o.warmup);
        drain();
    }
    late = 0;
    say("measure");
    measuring = 1;
    long ok_before = ok, frames_before = frames;
    double cpu_before = cpu_s();
    uint64_t start = now_us();
    load(o.duration);
    measured.elapsed_s = (now_us() - start) / 1e6;
    measured.cpu = (cpu_s() - cpu_before) / measured.elapsed_s;
    measured.posts_per_s = (ok - ok_before) / measured.elapsed_s;
    measured.frames_per_s = (frames - frames_before) / measured.elapsed_s;
    say("measured");
    drain();
}

static int option(const char *name, const char *value) {
#define TEXT(n) if (!strcmp(name, "--" #n)) return o.n = value, 1;
#define WHOLE(n) if (!strcmp(name, "--" #n)) return o.n = atoi(value), 1;
#define REAL(n) if (!strcmp(name, "--" #n)) return o.n = atof(value), 1;
    TEXT(wspath) TEXT(wshead) TEXT(subproto) TEXT(httppath) TEXT(httphead) TEXT(body) TEXT(key) TEXT(unwanted)
    WHOLE(wsport) WHOLE(httpport) WHOLE(agents) WHOLE(devices) WHOLE(from) WHOLE(window) WHOLE(catchup)
    WHOLE(publishers) WHOLE(outstanding) WHOLE(batch) WHOLE(unique)
    REAL(connectlimit) REAL(hold) REAL(rate) REAL(warmup) REAL(duration) REAL(drain)
    for (int i = 0; i < 4 && !strcmp(name, "--wsfirst"); i++) if (!o.wsfirst[i]) return o.wsfirst[i] = value, 1;
    return 0;
}

static void prepare(void) {
    take_apart(&wspath, o.wspath, (int)strlen(o.wspath));
    take_apart(&wshead, o.wshead, (int)strlen(o.wshead));
    take_apart(&httppath, o.httppath, (int)strlen(o.httppath));
    take_apart(&httphead, o.httphead, (int)strlen(o.httphead));
    for (int i = 0; i < 4 && o.wsfirst[i]; i++) take_apart(&wsfirst[i], o.wsfirst[i], (int)strlen(o.wsfirst[i]));
    take_body_apart();
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul); /* a post that is due is sent at once, not 50 us later */
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    static conn clock = {.kind = TIMER};
    clock.fd = timer;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &clock};
    if (poller < 0 || timer < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, timer, &e)) die("epoll");
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i += 2)
        if (i + 1 == argc || !option(argv[i], argv[i + 1])) {
            fprintf(stderr, "wsload: no such option, or no value to it: %s\n", argv[i]);
            return 2;
        }
    if (o.agents < 1 || o.devices < 0 || o.batch < 1 || o.window < 1) errno = 0, die("a number is too small");
    prepare();
    double connect_s = connect_all();
    say("connected");
    hold();
    if (o.publishers && o.duration > 0) measure();
    printf("{\"elapsed_s\":%.3f,\"cpu\":%.3f,", measured.elapsed_s, measured.cpu);
    printf("\"posts_per_s\":%.1f,\"frames_per_s\":%.1f,", measured.posts_per_s, measured.frames_per_s);
    printf("\"wanted\":%ld,\"opened\":%ld,\"failed\":%ld,\"closed\":%ld,\"connect_s\":%.3f,\"connects_per_s\":%.0f",
           (long)o.agents * o.devices, opened, failed, closed, connect_s, opened / connect_s);
    printf(",\"sent\":%ld,\"posts\":%ld,\"bad\":%ld,\"lost\":%ld,\"unsent\":%ld,\"late\":%ld,\"redialled\":%ld", posted,
           ok, bad, lost + waiting, due_total - due_next, late, redialled);
    printf(",\"frames\":%ld,\"expected\":%ld,\"missing\":%ld,\"other_frames\":%ld,\"unwanted\":%ld,\"caught_up\":%ld",
           frames, ok * expected_each(), missing(), other_frames, unwanted, caught_up);
    print_ms("p50_ms", &pushes, .5), print_ms("p90_ms", &pushes, .9), print_ms("p99_ms", &pushes, .99);
    print_ms("p999_ms", &pushes, .999), print_ms("max_ms", &pushes, 1);
    print_ms("post_p50_ms", &answers, .5), print_ms("post_p99_ms", &answers, .99);
    print_ms("catchup_p50_ms", &catchups, .5), print_ms("catchup_max_ms", &catchups, 1);
    printf(",\"pauses\":%lu}\n", (unsigned long)pushes.pauses);
    return 0;
}
