/*
 * Requests that come when they come, whether or not the last ones were answered: an open loop.
 *
 * In C, because it shares the cores with what it measures: a request costs it a tenth of what it
 * costs a program in Python. For the same reason it looks for answers once in LOOK_S and not at each
 * by itself: to be woken for one costs more than to read it. What is told includes that wait.
 *
 * openloop PLACE RATE SECONDS LINES SEED REQUESTS ANSWERS
 *
 * PLACE: a port of this machine, or the path of a socket. RATE: requests a second, evenly to a
 * millisecond or two; 0 keeps all connections busy instead. LINES: connections at most, each with
 * at most one request under way; a request for which none is free is lost.
 * SEED: a number, other than that of any run before. REQUESTS: a file of requests, each with its
 * length before it (uint32); they are sent in turn, and sixteen # in a row become a text that none
 * had before. ANSWERS: the file that is written, a record for each request.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FRESH "################"
#define FRESH_BYTES 16
#define ANSWER_BYTES_MAX (256 * 1024)
#define WAIT_S_MAX 5.0
#define LOOK_S 0.001
#define LOST 0

struct request { char *bytes; uint32_t length; char *fresh; };

struct line {
    int socket;
    int is_idle;
    uint32_t number;  /* Which of the requests it waits for. */
    double due;
    size_t received;
    char *answer;
};

/* What became of a request. at: when it was due, in seconds of the run; took: from then on. */
struct told { uint32_t number; uint32_t status; double at; double took; };

static struct sockaddr_storage place;
static socklen_t place_bytes;
static int poll_fd, line_max, line_count, idle_count;
static struct line *lines, **idle;
static struct request *requests;
static uint32_t request_count, seed;
static uint64_t sent;
static FILE *answers;
static double began;

static void fail(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9 - began;
}

static void tell(uint32_t number, uint32_t status, double due) {
    struct told told = {number, status, due, now() - due};
    if (fwrite(&told, sizeof told, 1, answers) != 1) fail("answers");
}

static void read_requests(const char *path) {
    FILE *file = fopen(path, "rb");
    uint32_t length;
    if (!file) fail(path);
    while (fread(&length, sizeof length, 1, file) == 1) {
        requests = realloc(requests, (request_count + 1) * sizeof *requests);
        struct request *request = &requests[request_count++];
        request->length = length;
        request->bytes = malloc(length);
        if (fread(request->bytes, 1, length, file) != length) fail(path);
        request->fresh = memmem(request->bytes, length, FRESH, FRESH_BYTES);
    }
    fclose(file);
}

static void set_place(const char *text) {
    struct sockaddr_in *port = (struct sockaddr_in *)&place;
    struct sockaddr_un *path = (struct sockaddr_un *)&place;
    if (*text == '/') {
        path->sun_family = AF_UNIX;
        strncpy(path->sun_path, text, sizeof path->sun_path - 1);
        place_bytes = sizeof *path;
    } else {
        port->sin_family = AF_INET;
        port->sin_port = htons(atoi(text));
        port->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        place_bytes = sizeof *port;
    }
}

static int connect_line(struct line *line) {
    int one = 1;
    line->socket = socket(place.ss_family, SOCK_STREAM, 0);
    if (line->socket < 0) fail("socket");
    if (connect(line->socket, (struct sockaddr *)&place, place_bytes)) {
        close(line->socket);
        line->socket = -1;
        return 0;
    }
    if (place.ss_family == AF_INET)
        setsockopt(line->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = line};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, line->socket, &event)) fail("epoll_ctl");
    return 1;
}

/* Return a connection that is free, opened anew where the last one ended; NULL for none. */
static struct line *free_line(void) {
    if (!idle_count) return NULL;
    struct line *line = idle[--idle_count];
    if (line->socket >= 0 || connect_line(line)) return line;
    idle[idle_count++] = line;
    return NULL;
}

static void set_idle(struct line *line) {
    line->is_idle = 1;
    idle[idle_count++] = line;
}

static void drop(struct line *line) {
    close(line->socket);
    line->socket = -1;
    if (!line->is_idle) set_idle(line);  /* Else it is among them already. */
}

/* Send the next request; 0 where it could not be sent, and is lost. */
static int send_next(double due) {
    uint32_t number = sent % request_count;
    struct request *request = &requests[number];
    struct line *line = free_line();
    char text[FRESH_BYTES + 1];
    if (request->fresh) {
        snprintf(text, sizeof text, "%08x%08x", seed, (uint32_t)sent);
        memcpy(request->fresh, text, FRESH_BYTES);
    }
    sent++;
    if (!line) {
        tell(number, LOST, due);
        return 0;
    }
    line->number = number, line->due = due, line->received = 0, line->is_idle = 0;
    ssize_t taken = send(line->socket, request->bytes, request->length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (taken != (ssize_t)request->length) {
        tell(number, LOST, due);
        drop(line);
        return 0;
    }
    return 1;
}

/* Return the status of an answer that is whole, -1 of one that is not yet. */
static int status_of(struct line *line) {
    line->answer[line->received] = 0;
    char *end = strstr(line->answer, "\r\n\r\n");
    if (!end) return -1;
    char *length = strcasestr(line->answer, "\r\ncontent-length:");
    size_t body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
    return line->received >= end + 4 - line->answer + body ? atoi(line->answer + 9) : -1;
}

static void receive(struct line *line) {
    ssize_t part = recv(line->socket, line->answer + line->received,
                        ANSWER_BYTES_MAX - line->received, MSG_DONTWAIT);
    if (part < 0 && errno == EAGAIN) return;
    if (part <= 0) {
        if (!line->is_idle) tell(line->number, LOST, line->due);
        drop(line);
        return;
    }
    if (line->is_idle) {  /* Nobody asked. */
        drop(line);
        return;
    }
    line->received += part;
    int status = status_of(line);
    if (status < 0) return;
    tell(line->number, status, line->due);
    set_idle(line);
    char *close = strcasestr(line->answer, "\r\nconnection: close\r\n");
    if (close && close < strstr(line->answer, "\r\n\r\n")) drop(line);
}

static void wait_for_answers(double seconds) {
    static double looked;
    struct epoll_event events[256];
    double early = looked + LOOK_S - now();
    if (early > 0) {
        nanosleep(&(struct timespec){0, early * 1e9}, NULL);
        seconds -= early;
    }
    looked = now();
    int count = epoll_wait(poll_fd, events, 256, seconds <= 0 ? 0 : (int)(seconds * 1000) + 1);
    for (int n = 0; n < count; n++) receive(events[n].data.ptr);
}

static void open_lines(void) {
    struct timespec pause = {0, 10 * 1000 * 1000};
    lines = calloc(line_max, sizeof *lines);
    idle = calloc(line_max, sizeof *idle);
    for (; line_count < line_max; line_count++) {
        struct line *line = &lines[line_count];
        line->answer = malloc(ANSWER_BYTES_MAX + 1);
        if (!connect_line(line)) fail("connect");
        set_idle(line);
        if (line_count % 20 == 0) nanosleep(&pause, NULL);  /* A worker accepts one at a time. */
    }
}

static void offer(double rate, double seconds) {
    uint64_t count = rate * seconds;
    while (sent < count) {
        double due;
        while (sent < count && (due = sent / rate) <= now()) send_next(due);
        wait_for_answers(sent / rate - now());
    }
}

static void saturate(double seconds) {
    for (double at; (at = now()) < seconds; wait_for_answers(0.1))
        while (idle_count && send_next(at));
}

int main(int count, char **told) {
    if (count != 8) {
        fputs("openloop PLACE RATE SECONDS LINES SEED REQUESTS ANSWERS\n", stderr);
        return 2;
    }
    double rate = atof(told[2]), seconds = atof(told[3]);
    set_place(told[1]);
    line_max = atoi(told[4]), seed = strtoul(told[5], NULL, 10);
    read_requests(told[6]);
    answers = fopen(told[7], "wb");
    if (!answers) fail(told[7]);
    poll_fd = epoll_create1(0);
    open_lines();
    began = now();
    if (rate > 0) offer(rate, seconds);
    else saturate(seconds);
    double until = now() + WAIT_S_MAX;
    while (idle_count < line_max && now() < until) wait_for_answers(0.1);
    for (int n = 0; n < line_max; n++)
        if (!lines[n].is_idle) tell(lines[n].number, LOST, lines[n].due);
    return fclose(answers) ? 1 : 0;
}
