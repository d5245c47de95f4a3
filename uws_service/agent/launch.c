/* Runs a pod's command and measures it: launch USAGE-FILE COMMAND [ARGUMENT ...]

   It is the first process of the command's container: it passes signals on, collects orphans, and ends as the command
   ends. Nobody outside the container can see its control group without rights over the whole machine, so the figures
   are written from within: USAGE-FILE holds "CPU-MICROSECONDS PEAK-MEMORY-BYTES", anew every few seconds, so that they
   are there too for a command that is killed.

   A command that was asked from outside its container to end has not ended by itself, even if it ends with 0: then 143
   is told in place of 0, and why in the termination log. So is a process that the kernel killed for want of memory, and
   what a command that failed has written into error.json of its output folder.

   Built static, since it runs in any image: cc -Os -static -s -o uws-launch launch.c */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *const CPU[] = {"/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpuacct/cpuacct.usage",
                                  "/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage"};
static const char *const MEMORY[] = {"/sys/fs/cgroup/memory.stat", "/sys/fs/cgroup/memory/memory.stat"};
static const char *const KILLS[] = {"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"};
enum { LOOK_SECONDS = 1, WRITE_SECONDS = 5 };

static char target[4096], draft[4104];
static long long peak; /* bytes */

/* A small file of the kernel's as text; 0 if it can't be read. */
static int text_of(const char *path, char *text, size_t room) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? -1 : read(file, text, room - 1);
    if (file >= 0)
        close(file);
    text[got > 0 ? got : 0] = 0;
    return got > 0;
}

/* The number after a word that begins a line, or -1. */
static long long after(const char *text, const char *word) {
    size_t length = strlen(word);
    for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : 0)
        if (!strncmp(line, word, length) && line[length] == ' ')
            return atoll(line + length + 1);
    return -1;
}

/* What the container's processes have used; without control groups, what those that have ended have used. */
static long long cpu_microseconds(void) {
    char text[8192];
    struct rusage used;
    if (text_of(CPU[0], text, sizeof text) && after(text, "usage_usec") >= 0)
        return after(text, "usage_usec");
    for (size_t i = 1; i < sizeof CPU / sizeof *CPU; i++)
        if (text_of(CPU[i], text, sizeof text))
            return atoll(text) / 1000;
    getrusage(RUSAGE_CHILDREN, &used);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000LL + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
}

/* Memory of processes and of files that exist in memory only; what the kernel merely caches is not the command's. */
static void look_at_memory(void) {
    char text[8192];
    struct rusage used;
    long long now = -1;
    if (text_of(MEMORY[0], text, sizeof text) && after(text, "anon") >= 0)
        now = after(text, "anon") + (after(text, "shmem") > 0 ? after(text, "shmem") : 0);
    else if (text_of(MEMORY[1], text, sizeof text) && after(text, "total_rss") >= 0)
        now = after(text, "total_rss") + (after(text, "total_shmem") > 0 ? after(text, "total_shmem") : 0);
    if (now > peak)
        peak = now;
    getrusage(RUSAGE_CHILDREN, &used); /* what was over before it could be looked at */
    if (used.ru_maxrss * 1024LL > peak)
        peak = used.ru_maxrss * 1024LL;
}

static void write_usage(void) {
    char text[64];
    int length = snprintf(text, sizeof text, "%lld %lld\n", cpu_microseconds(), peak);
    int file = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0)
        return; /* a full folder: the figures before these stay */
    int whole = write(file, text, length) == length;
    close(file);
    if (whole)
        rename(draft, target);
}

/* How many processes of the container were killed for want of memory. */
static long long kills(void) {
    char text[4096];
    for (size_t i = 0; i < sizeof KILLS / sizeof *KILLS; i++)
        if (text_of(KILLS[i], text, sizeof text) && after(text, "oom_kill") >= 0)
            return after(text, "oom_kill");
    return 0;
}

#ifndef TERMINATION_LOG
#define TERMINATION_LOG "/dev/termination-log" /* read by the kubelet */
#endif

/* A word for the service, in place of what the command may have written there. */
static void tell(const char *text) {
    int file = open(TERMINATION_LOG, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (file < 0)
        return;
    if (write(file, text, strlen(text)) < 0)
        perror("uws-launch: " TERMINATION_LOG);
    close(file);
}

/* For the service to tell a command that can't be started from one that failed. */
static void cannot(const char *command, int why) {
    char text[512];
    int length = snprintf(text, sizeof text, "uws-launch: %.200s: %s\n", command, strerror(why));
    int file = open(TERMINATION_LOG, O_WRONLY | O_CLOEXEC);
    if (length > (int)sizeof text - 1)
        length = sizeof text - 1;
    if (write(2, text, length) < 0 || (file >= 0 && write(file, text, length) < 0))
        _exit(125);
    _exit(why == ENOENT ? 127 : 126);
}

/* Pass on what the command itself says went wrong, if it is short enough for the termination log. */
static void tell_error(void) {
    static const char begin[] = "uws-launch: error.json\n";
    enum { MOST = 3900 };
    char path[4096], text[sizeof begin + MOST + 1];
    const char *folder = getenv("UWS_OUTPUT_DIR");
    struct stat entry;
    if (!folder || snprintf(path, sizeof path, "%s/error.json", folder) >= (int)sizeof path)
        return;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK); /* a pipe would be waited for */
    if (file < 0)
        return;
    memcpy(text, begin, sizeof begin - 1);
    ssize_t got = fstat(file, &entry) || !S_ISREG(entry.st_mode) ? -1 : read(file, text + sizeof begin - 1, MOST + 1);
    close(file);
    if (got <= 0 || got > MOST)
        return;
    text[sizeof begin - 1 + got] = 0;
    tell(text);
}

int main(int count, char **words) {
    if (count < 3) {
        fprintf(stderr, "usage: %s USAGE-FILE COMMAND [ARGUMENT ...]\n", words[0]);
        return 125;
    }
    snprintf(target, sizeof target, "%s", words[1]);
    snprintf(draft, sizeof draft, "%s.new", target);

    sigset_t every, before;
    sigfillset(&every);
    sigprocmask(SIG_SETMASK, &every, &before);
    pid_t command = fork();
    if (command < 0) {
        perror("uws-launch: fork");
        return 125;
    }
    if (command == 0) {
        sigprocmask(SIG_SETMASK, &before, 0);
        execvp(words[2], words + 2);
        cannot(words[2], errno);
    }

    const struct timespec look = {.tv_sec = LOOK_SECONDS};
    const long long kills_before = kills();
    int code = -1, looks = 0, stopped = 0;
    while (code < 0) {
        siginfo_t from = {0};
        int signal = sigtimedwait(&every, &from, &look);
        /* Who is in no process namespace of ours has no number here. */
        if (signal > 0 && signal != SIGCHLD && from.si_code == SI_USER && from.si_pid == 0)
            stopped = 1;
        if (signal > 0 && signal != SIGCHLD)
            kill(command, signal);
        int status;
        pid_t ended;
        while ((ended = waitpid(-1, &status, WNOHANG)) > 0)
            if (ended == command)
                code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        look_at_memory();
        if (signal < 0 && ++looks % WRITE_SECONDS == 0)
            write_usage();
    }
    write_usage();
    if (stopped) {
        tell("uws-launch: stopped from outside\n");
        return code ? code : 128 + SIGTERM;
    }
    if (kills() > kills_before)
        tell("uws-launch: out of memory\n");
    else if (code > 0)
        tell_error();
    return code;
}
