/* The traced program: cheap calls in a loop, and what each one cost.
 *
 *   load [-u] [-c CPU] [-o FILE] calls KIND N        N calls on one CPU, as fast as they go
 *   load [-u] [-c CPU] [-o FILE] two KIND N          the same on two CPUs at once, N calls each
 *   load [-u] [-c CPU] [-o FILE] rate KIND R SECS    R calls a second, evenly spaced
 *   load [-u] [-c CPU] [-o FILE] rate2 KIND R SECS   the same from two CPUs, half of them each
 *   load tick USECS                             one getppid() each USECS, until killed
 *   load spawn FILE CMD...                      run CMD; its peak RSS goes to FILE
 *
 * KIND is getppid, lseek (fails at once; its offset runs from 0 to 1023), rename (the thread gets its own name
 * again) or target (bench_target(), a function to put a uprobe on). Results are one line of JSON. "ns" is the median over batches of
 * calls, so that a pre-emption here and there doesn't move it; "cpu_ns" the same of the thread's CPU time, which
 * no pre-emption moves; "mean_ns" is wall time over calls.
 *
 * -u: a child makes the calls, and its CPU time is added neither to this process's nor, by way of it, to
 * that of the tracer that started it. Not for uprobes: a tracer may put those on the child it started only.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCHES = 101 };

static long sink;

__attribute__((noinline, used)) long bench_target(long value)
{
	__asm__ volatile("" : "+r"(value) : : "memory");
	return value;
}

static void call_getppid(long i)
{
	(void)i;
	syscall(SYS_getppid);
}

static void call_lseek(long i)
{
	syscall(SYS_lseek, -1, i & 1023, 0);
}

static void call_rename(long i)
{
	(void)i;
	prctl(PR_SET_NAME, "load");
}

static void call_target(long i)
{
	sink += bench_target(i);
}

typedef void (*call_fn)(long);

static call_fn kind(const char *name)
{
	if (!strcmp(name, "getppid"))
		return call_getppid;
	if (!strcmp(name, "lseek"))
		return call_lseek;
	if (!strcmp(name, "rename"))
		return call_rename;
	if (!strcmp(name, "target"))
		return call_target;
	fprintf(stderr, "load: unknown kind of call: %s\n", name);
	exit(2);
}

static int64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void report(FILE *out, long calls, double ns, double cpu_ns, double mean_ns, double seconds)
{
	fprintf(out, "{\"calls\": %ld, \"ns\": %.2f, \"cpu_ns\": %.2f, \"mean_ns\": %.2f, \"seconds\": %.6f}\n",
		calls, ns, cpu_ns, mean_ns, seconds);
	fflush(out);
}

/* With SIGCHLD ignored this still waits for all children, but their times are counted nowhere. */
static void wait_all(void)
{
	while (wait(NULL) > 0)
		;
}

static double median(double *values)
{
	qsort(values, BATCHES, sizeof(*values), by_value);
	return values[BATCHES / 2];
}

static void calls(FILE *out, call_fn call, long n, long total)
{
	double ns[BATCHES], cpu_ns[BATCHES];
	long done = 0;
	int64_t start = now(CLOCK_MONOTONIC), before = start, after = start;
	int64_t cpu_before = now(CLOCK_THREAD_CPUTIME_ID), cpu_after;
	int b;

	for (b = 0; b < BATCHES; b++) {
		long until = n * (b + 1) / BATCHES, first = done;

		for (; done < until; done++)
			call(done);
		after = now(CLOCK_MONOTONIC);
		cpu_after = now(CLOCK_THREAD_CPUTIME_ID);
		ns[b] = done > first ? (double)(after - before) / (done - first) : 0;
		cpu_ns[b] = done > first ? (double)(cpu_after - cpu_before) / (done - first) : 0;
		before = after;
		cpu_before = cpu_after;
	}
	wait_all();
	if (out)
		report(out, total, median(ns), median(cpu_ns), (double)(after - start) / (n ? n : 1),
		       (after - start) / 1e9);
}

static void rate(FILE *out, call_fn call, double per_second, double seconds, int cpus)
{
	double period = 1e9 / per_second;
	long n = per_second * seconds, i;
	int64_t start = now(CLOCK_MONOTONIC), end;
	int64_t cpu = now(CLOCK_THREAD_CPUTIME_ID);

	for (i = 0; i < n; i++) {
		while (now(CLOCK_MONOTONIC) - start < (int64_t)(i * period))
			;
		call(i);
	}
	cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
	wait_all();
	end = now(CLOCK_MONOTONIC);
	if (out)
		report(out, cpus * n, (double)(end - start) / n, (double)cpu / n, (double)(end - start) / n,
		       (end - start) / 1e9);
}

static void tick(long usecs)
{
	struct timespec t = { usecs / 1000000, usecs % 1000000 * 1000 };

	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	for (;;) {
		call_getppid(0);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
	}
}

/* A child's peak RSS starts at its parent's size, so the parent has to be as small as this program. */
static int spawn(const char *file, char **argv)
{
	struct rusage r;
	int status;
	FILE *out;
	pid_t pid = fork();

	if (pid == 0) {
		execvp(argv[0], argv);
		perror(argv[0]);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &r) < 0 || !(out = fopen(file, "w"))) {
		perror("load: spawn");
		return 126;
	}
	fprintf(out, "{\"maxrss_kb\": %ld}\n", r.ru_maxrss);
	fclose(out);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Go on in a child on another CPU, too; whether this is the child. */
static int also_on_another(int cpu)
{
	if (fork())
		return 0;
	pin(cpu ? cpu - 1 : cpu + 1);
	return 1;
}

static int last_cpu(void)
{
	cpu_set_t set;
	int cpu;

	sched_getaffinity(0, sizeof(set), &set);
	for (cpu = CPU_SETSIZE - 1; cpu > 0 && !CPU_ISSET(cpu, &set); cpu--)
		;
	return cpu;
}

int main(int argc, char **argv)
{
	FILE *out = stdout;
	int cpu = last_cpu(), unseen = 0, option;

	while ((option = getopt(argc, argv, "+uc:o:")) != -1) {
		if (option == 'u')
			unseen = 1;
		else if (option == 'c')
			cpu = atoi(optarg);
		else if (option != 'o' || !(out = fopen(optarg, "w")))
			return 2;
	}
	argc -= optind;
	argv += optind;
	if (argc >= 3 && !strcmp(argv[0], "spawn"))
		return spawn(argv[1], argv + 2);
	if (argc == 2 && !strcmp(argv[0], "tick"))
		tick(atol(argv[1]));
	if (unseen) {
		signal(SIGCHLD, SIG_IGN);
		if (fork()) {
			wait_all();
			return 0;
		}
	}
	pin(cpu);
	if (argc == 3 && !strcmp(argv[0], "calls")) {
		calls(out, kind(argv[1]), atol(argv[2]), atol(argv[2]));
	} else if (argc == 3 && !strcmp(argv[0], "two")) {
		long n = atol(argv[2]);

		if (also_on_another(cpu))
			out = NULL;
		calls(out, kind(argv[1]), n, 2 * n);
	} else if (argc == 4 && !strcmp(argv[0], "rate")) {
		rate(out, kind(argv[1]), atof(argv[2]), atof(argv[3]), 1);
	} else if (argc == 4 && !strcmp(argv[0], "rate2")) {
		if (also_on_another(cpu))
			out = NULL;
		rate(out, kind(argv[1]), atof(argv[2]) / 2, atof(argv[3]), 2);
	} else {
		fprintf(stderr, "usage: load [-u] [-c CPU] [-o FILE] calls|two KIND N | rate|rate2 KIND R SECS | tick USECS | "
				"spawn FILE CMD...\n");
		return 2;
	}
	return 0;
}
