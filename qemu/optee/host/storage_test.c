// SPDX-License-Identifier: BSD-2-Clause
/*
 * OP-TEE's storage over a normal world that fails, lies and loses power.
 *
 * Each change of storage runs once for each call that it makes and each way in
 * which that call can end, then with and without a restart, with and without
 * files that were copied before or after put back, followed by the same change
 * again or another one. The model is the set of the states that storage may be
 * in: what a caller is told narrows it. What is read must be one of them.
 */
#include "world.h"

#include <assert.h>
#include <config.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tee/tadb.h>
#include <tee/tee_fs.h>
#include <tee/tee_pobj.h>
#include <tee_api_defines.h>
#include <unistd.h>

void __sanitizer_set_death_callback(void (*callback)(void));

#define OBJECT_COUNT	3
#define TA_COUNT	3
#define STATE_COUNT	32
#define REPORT_COUNT	8

/* A version tells the content: which octets, and how many */
#define ABSENT		0
#define LARGE		0x40
#define CUT_SHORT	0x80
#define UNKNOWN		0x100

/* Three blocks */
#define CONTENT_SIZE	8300

enum { A, B, C };
enum { X, Y, Z };

struct state {
	int object[OBJECT_COUNT];
	int ta[TA_COUNT];
};

enum kind { CREATE, WRITE, TRUNCATE, REMOVE, RENAME, INSTALL, DELETE };

struct change {
	const char *name;
	enum kind kind;
	int target;
	/* Version, or for RENAME the other object */
	int value;
};

/* Where the disk comes from that is put back */
enum source { STAYS, OLDER, BEFORE, AT_FAULT, AHEAD };

struct run {
	const struct change *change;
	unsigned int call;
	enum fault fault;
	bool held;
	bool restart;
	/* Before the second change, and after it */
	enum source put_back[2];
	bool again;
	/* With this call of the second change the power fails again */
	bool cut_again;
	unsigned int second_call;
	enum fault second_fault;
};

struct states {
	size_t count;
	struct state of[STATE_COUNT];
};

struct base {
	struct state state;
	struct disk *older;
	struct disk *disk;
	struct secure_memory memory;
};

static struct run now;
static bool failed;
static unsigned long runs;
static unsigned long violations;
static bool first_only;

/* States that storage may be in */
static struct states possible;

static struct tee_file_handle *held_object[OBJECT_COUNT];
static struct tee_tadb_ta_read *held_ta;

static const char *fault_name(enum fault fault)
{
	static const char *const names[] = {
		"no fault", "fails", "done but fails", "lies", "power cut before",
		"power cut after",
	};

	return names[fault];
}

static const char *source_name(enum source source)
{
	static const char *const names[] = {
		"-", "older", "before", "at fault", "ahead",
	};

	return names[source];
}

static void describe_run(void)
{
	fprintf(stderr, "  %s: call %u %s%s; restart %d, put back %s; %s%s",
		now.change->name, now.call, fault_name(now.fault),
		now.held ? ", handles held" : "", now.restart,
		source_name(now.put_back[0]),
		now.again ? "the same again" : "another change",
		now.cut_again ? "" : "; ");
	if (now.cut_again)
		fprintf(stderr, ", call %u %s\n", now.second_call,
			fault_name(now.second_fault));
	else
		fprintf(stderr, "put back %s\n", source_name(now.put_back[1]));
}

static void describe_state(const struct state *s)
{
	int n = 0;

	fprintf(stderr, "    ");
	for (n = 0; n < OBJECT_COUNT; n++)
		fprintf(stderr, "%c=%x ", 'A' + n, s->object[n]);
	for (n = 0; n < TA_COUNT; n++)
		fprintf(stderr, "%c=%x ", 'X' + n, s->ta[n]);
	fprintf(stderr, "\n");
}

/* A run counts as one violation, whatever follows from it */
static void violation(const char *what, const struct state *found)
{
	size_t n = 0;

	if (failed)
		return;
	failed = true;
	if (violations++ >= REPORT_COUNT)
		return;
	fprintf(stderr, "%s\n", what);
	describe_run();
	if (found) {
		describe_state(found);
		fprintf(stderr, "    may be:\n");
		for (n = 0; n < possible.count; n++)
			describe_state(possible.of + n);
	}
	if (first_only)
		_exit(1);
}

static void die(void)
{
	if (now.change)
		describe_run();
}

static void on_abort(int number)
{
	(void)number;
	die();
	_exit(1);
}

static void add(struct states *set, struct state s)
{
	size_t n = 0;

	for (n = 0; n < set->count; n++)
		if (!memcmp(set->of + n, &s, sizeof(s)))
			return;
	assert(set->count < STATE_COUNT);
	set->of[set->count++] = s;
}

static size_t size_of(int version)
{
	size_t size = version & LARGE ? CONTENT_SIZE : 300;

	return version & CUT_SHORT ? size / 4 : size;
}

static const uint8_t *content_of(int version)
{
	static uint8_t octets[CONTENT_SIZE];

	memset(octets, version & ~CUT_SHORT, sizeof(octets));

	return octets;
}

static int version_of(const uint8_t *octets, size_t size)
{
	int version = octets[0];

	if (!size || memcmp(octets, octets + 1, size - 1))
		return UNKNOWN;
	if (size == size_of(version))
		return version;

	return size == size_of(version | CUT_SHORT) ? version | CUT_SHORT :
						      UNKNOWN;
}

static struct tee_pobj name_of(int object)
{
	static char names[OBJECT_COUNT][2] = { "a", "b", "c" };

	return (struct tee_pobj){ .uuid = { .timeLow = 0x0b1ec7 },
				  .obj_id = names[object], .obj_id_len = 1 };
}

static TEE_UUID uuid_of(int ta)
{
	return (TEE_UUID){ .timeLow = 0x7a000000 + ta };
}

static bool is_error(TEE_Result res)
{
	return res && res != TEE_ERROR_ITEM_NOT_FOUND;
}

static TEE_Result install(int ta, int version)
{
	struct tee_tadb_property property = { .uuid = uuid_of(ta),
					      .version = version,
					      .bin_size = size_of(version) };
	struct tee_tadb_ta_write *write = NULL;
	TEE_Result res = tee_tadb_ta_create(&property, &write);

	if (res)
		return res;
	res = tee_tadb_ta_write(write, content_of(version), size_of(version));
	if (res) {
		tee_tadb_ta_close_and_delete(write);
		return res;
	}

	return tee_tadb_ta_close_and_commit(write);
}

static TEE_Result change_open(const struct change *c)
{
	struct tee_pobj po = name_of(c->target);
	struct tee_file_handle *fh = held_object[c->target];
	TEE_Result res = TEE_SUCCESS;

	if (!fh)
		res = ree_fs_ops.open(&po, NULL, &fh);
	if (res)
		return res;
	if (c->kind == WRITE)
		res = ree_fs_ops.write(fh, 0, content_of(c->value), NULL,
				       size_of(c->value));
	else
		res = ree_fs_ops.truncate(fh, size_of(c->value));
	if (!held_object[c->target])
		ree_fs_ops.close(&fh);

	return res;
}

static TEE_Result carry_out(const struct change *c)
{
	struct tee_pobj po = name_of(c->target % OBJECT_COUNT);
	struct tee_pobj other = { };
	struct tee_file_handle *fh = NULL;
	TEE_UUID uuid = uuid_of(c->target);
	TEE_Result res = TEE_SUCCESS;

	switch (c->kind) {
	case CREATE:
		res = ree_fs_ops.create(&po, true, NULL, 0, NULL, 0,
					content_of(c->value), NULL,
					size_of(c->value), &fh);
		if (!res)
			ree_fs_ops.close(&fh);
		return res;
	case WRITE:
	case TRUNCATE:
		return change_open(c);
	case REMOVE:
		return ree_fs_ops.remove(&po);
	case RENAME:
		other = name_of(c->value);
		return ree_fs_ops.rename(&po, &other, true);
	case INSTALL:
		return install(c->target, c->value);
	case DELETE:
		return tee_tadb_ta_delete(&uuid);
	default:
		abort();
	}
}

/* Whether there is something that the change needs */
static bool applies(const struct change *c, const struct state *s)
{
	switch (c->kind) {
	case CREATE:
	case INSTALL:
		return true;
	case DELETE:
		return s->ta[c->target];
	default:
		return s->object[c->target];
	}
}

static struct state after(const struct change *c, struct state s)
{
	if (!applies(c, &s))
		return s;
	switch (c->kind) {
	case CREATE:
	case WRITE:
	case TRUNCATE:
		s.object[c->target] = c->value;
		break;
	case REMOVE:
		s.object[c->target] = ABSENT;
		break;
	case RENAME:
		s.object[c->value] = s.object[c->target];
		s.object[c->target] = ABSENT;
		break;
	case INSTALL:
		s.ta[c->target] = c->value;
		break;
	case DELETE:
		s.ta[c->target] = ABSENT;
		break;
	}

	return s;
}

/* What the caller learns from the answer; none where the power failed */
static void learn(const struct change *c, bool answered, TEE_Result res)
{
	struct states before = possible;
	size_t n = 0;

	possible.count = 0;
	for (n = 0; n < before.count; n++) {
		bool fits = applies(c, before.of + n);

		if (!answered || is_error(res)) {
			add(&possible, before.of[n]);
			add(&possible, after(c, before.of[n]));
		} else if (!res && fits) {
			add(&possible, after(c, before.of[n]));
		} else if (res && !fits) {
			add(&possible, before.of[n]);
		}
	}
	if (!possible.count) {
		possible = before;
		violation(res ? "what must be there is reported as absent" :
				"what must be absent was changed", NULL);
	}
}

static int read_object(struct tee_file_handle *fh)
{
	uint8_t octets[CONTENT_SIZE + 1] = { };
	size_t size = sizeof(octets);

	if (ree_fs_ops.read(fh, 0, octets, NULL, &size))
		return UNKNOWN;
	if (version_of(octets, size) == UNKNOWN) {

		violation("an object is torn", NULL);}

	return version_of(octets, size);
}

static bool nothing_was_stored(void)
{
	return !secure_memory.counter && !secure_memory.has_hash;
}

static int find_object(int object)
{
	struct tee_pobj po = name_of(object);
	struct tee_file_handle *fh = NULL;
	TEE_Result res = ree_fs_ops.open(&po, NULL, &fh);
	int version = UNKNOWN;

	/* As the pseudo TA does: see CHECK in ta/pta */
	if (is_error(res) && nothing_was_stored())
		res = ree_fs_ops.open(&po, NULL, &fh);
	if (res)
		return is_error(res) ? UNKNOWN : ABSENT;
	version = read_object(fh);
	ree_fs_ops.close(&fh);

	return version;
}

static int load(struct tee_tadb_ta_read *ta)
{
	const struct tee_tadb_property *property = tee_tadb_ta_get_property(ta);
	uint8_t octets[CONTENT_SIZE] = { };
	size_t size = sizeof(octets);

	if (tee_tadb_ta_read(ta, octets, NULL, &size))
		return UNKNOWN;
	if ((int)property->version != version_of(octets, size))
		violation("a TA is torn", NULL);

	return property->version;
}

static int find_ta(int ta)
{
	struct tee_tadb_ta_read *read = NULL;
	unsigned int missing = missing_ta_files;
	TEE_UUID uuid = uuid_of(ta);
	TEE_Result res = tee_tadb_ta_open(&uuid, &read);
	int version = UNKNOWN;

	/* Hiding a file makes its TA look absent: that is no more than denial */
	if (is_error(res) || missing != missing_ta_files)
		return UNKNOWN;
	if (res)
		return ABSENT;
	version = load(read);
	tee_tadb_ta_close(read);

	return version;
}

static bool matches(const struct state *found, const struct state *s)
{
	int n = 0;

	for (n = 0; n < OBJECT_COUNT; n++)
		if (found->object[n] != UNKNOWN &&
		    found->object[n] != s->object[n])
			return false;
	for (n = 0; n < TA_COUNT; n++)
		if (found->ta[n] != UNKNOWN && found->ta[n] != s->ta[n])
			return false;

	return true;
}

static bool has_unknown(const struct state *found)
{
	int n = 0;

	for (n = 0; n < OBJECT_COUNT; n++)
		if (found->object[n] == UNKNOWN)
			return true;
	for (n = 0; n < TA_COUNT; n++)
		if (found->ta[n] == UNKNOWN)
			return true;

	return false;
}

/* @all: nothing may be unavailable */
static void narrow(struct state found, bool all)
{
	struct states before = possible;
	size_t n = 0;

	if (all && has_unknown(&found))
		violation("storage is not available", &found);
	possible.count = 0;
	for (n = 0; n < before.count; n++)
		if (matches(&found, before.of + n))
			add(&possible, before.of[n]);
	if (!possible.count) {
		possible = before;
		violation("a state that must not be", &found);
	}
}

static void observe(bool all)
{
	struct state found = { };
	int n = 0;

	for (n = 0; n < OBJECT_COUNT; n++)
		found.object[n] = find_object(n);
	for (n = 0; n < TA_COUNT; n++)
		found.ta[n] = find_ta(n);
	narrow(found, all);
}

/* Through the handles that are open already */
static void observe_held(void)
{
	struct state found = { };
	int n = 0;

	for (n = 0; n < OBJECT_COUNT; n++)
		found.object[n] = held_object[n] ? read_object(held_object[n]) :
						   UNKNOWN;
	for (n = 0; n < TA_COUNT; n++)
		found.ta[n] = UNKNOWN;
	narrow(found, false);
}

static void hold(void)
{
	TEE_UUID uuid = uuid_of(Y);
	TEE_Result res = tee_tadb_ta_open(&uuid, &held_ta);
	int n = 0;

	assert(!res);
	for (n = A; n <= B; n++) {
		struct tee_pobj po = name_of(n);

		/* What is open can be written to, but not go */
		if (n == A ? now.change->kind != WRITE &&
			     now.change->kind != TRUNCATE :
			     now.change->kind == RENAME &&
			     now.change->value == B)
			continue;
		res = ree_fs_ops.open(&po, NULL, held_object + n);
		assert(!res);
	}
}

/* The load that had to wait goes on, its clients close their objects */
static void release(void)
{
	int n = 0;

	for (n = 0; n < OBJECT_COUNT; n++)
		ree_fs_ops.close(held_object + n);
	if (held_ta) {
		load(held_ta);
		tee_tadb_ta_close(held_ta);
		held_ta = NULL;
	}
}

static void restart(void)
{
	memset(held_object, 0, sizeof(held_object));
	held_ta = NULL;
	core_restart();
}

/* As fault_disarm() */
static bool change(const struct change *c, unsigned int call, enum fault fault,
		   bool *happened)
{
	/* Survives the jump */
	static TEE_Result res;
	static bool answered;

	answered = false;
	fault_arm(call, fault);
	if (!setjmp(power_cut_jump)) {
		res = carry_out(c);
		answered = true;
	}
	learn(c, answered, res);
	if (answered && !held_ta && core_heap_used())
		violation("the core keeps memory that is nobody's", NULL);

	return fault_disarm(happened);
}

static bool is_cut(enum fault fault)
{
	return fault == CUT_BEFORE || fault == CUT_AFTER;
}

static void put_back(const struct disk *disks[], enum source source)
{
	if (source != STAYS && disks[source])
		disk_put_back(disks[source]);
}

/*
 * Returns whether the changes have that many calls; @happened: whether they
 * can have these faults.
 */
static bool run(const struct base *base, bool *happened)
{
	static const struct change another = { "", CREATE, C, 5 };
	static const struct change last = { "", CREATE, B, LARGE | 7 };
	const struct disk *disks[] = { [OLDER] = base->older,
					[BEFORE] = base->disk,
					[AHEAD] = NULL };
	struct disk *at_fault = NULL;
	struct disk *ahead = NULL;
	struct disk *present = NULL;
	bool honest_before = now.fault != LIES && now.put_back[0] == STAYS;
	bool honest = honest_before && now.put_back[1] == STAYS;
	const struct change *second = now.again ? now.change : &another;
	bool reached = false;
	bool second_happened = false;

	restart();
	disk_put_back(base->disk);
	secure_memory = base->memory;
	possible = (struct states){ 1, { base->state } };
	failed = false;

	if (now.held)
		hold();
	reached = change(now.change, now.call, now.fault, happened);
	if (!*happened)
		return reached;
	runs++;
	disks[AT_FAULT] = at_fault = disk_at_fault();
	disks[AHEAD] = ahead = disk_copy();
	if (is_cut(now.fault))
		restart();
	observe_held();
	put_back(disks, now.put_back[0]);
	if (now.restart)
		restart();
	observe(honest && !held_ta);

	reached = change(second, now.second_call, now.second_fault,
			 &second_happened);
	if (now.cut_again) {
		*happened = second_happened;
		restart();
	}
	present = disk_copy();
	put_back(disks, now.put_back[1]);
	observe_held();
	if (held_ta)
		observe(false);
	release();
	if (core_heap_used())
		violation("the core keeps memory that is nobody's", NULL);
	observe(honest);
	if (now.put_back[1] != STAYS) {
		/* What did not open has changed nothing */
		disk_put_back(present);
		restart();
		observe(honest_before);
	}
	change(&last, 0, NO_FAULT, &second_happened);
	restart();
	observe(honest_before);
	disk_free(disk_at_fault());
	disk_free(at_fault);
	disk_free(ahead);
	disk_free(present);

	return reached || !now.cut_again;
}

/*
 * Without a counter any older state opens; with a counter alone, also what was
 * stored and reported as not stored. Without open handles the core keeps nothing in memory, which is checked, so
 * there a restart is nothing.
 */
static void each_order(const struct base *base)
{
	enum source firsts = platform_keeps_hash() ? BEFORE : STAYS;
	enum source seconds = platform_keeps_hash() ? AHEAD :
			      platform_keeps_counter() ? BEFORE : STAYS;
	unsigned int bits = 0;
	enum source first = STAYS;
	enum source second = STAYS;
	bool happened = false;

	for (bits = 0; bits < (now.held ? 4 : 2); bits++) {
		now.again = bits & 1;
		now.restart = bits & 2;
		for (first = STAYS; first <= firsts; first += BEFORE) {
			for (second = STAYS; second <= seconds; second++) {
				/* Then the files are the same as ahead */
				if (is_cut(now.fault) && second == AT_FAULT)
					continue;
				now.put_back[0] = first;
				now.put_back[1] = second;
				run(base, &happened);
			}
		}
	}
}

/* Two power cuts: with the second in what follows the first */
static void each_second_cut(const struct base *base)
{
	unsigned int again = 0;
	bool happened = false;

	now.put_back[0] = STAYS;
	now.put_back[1] = STAYS;
	now.cut_again = true;
	for (again = 0; again < 2; again++) {
		now.again = again;
		for (now.second_fault = CUT_BEFORE;
		     now.second_fault <= CUT_AFTER; now.second_fault++) {
			now.second_call = 0;
			while (run(base, &happened))
				now.second_call++;
		}
	}
	now.cut_again = false;
	now.second_call = 0;
	now.second_fault = NO_FAULT;
}

/* Power cuts leave no open handles, and are the same with and without */
static void each_fault(const struct base *base, const struct change *c,
		       bool held)
{
	enum fault last = held ? LIES : CUT_AFTER;
	bool happened = false;
	enum fault fault = NO_FAULT;

	for (fault = FAILS; fault <= last; fault++) {
		/* A file said to be missing is a new device */
		if (fault == LIES && !platform_keeps_counter())
			continue;
		now = (struct run){ .change = c, .fault = fault, .held = held };
		while (run(base, &happened)) {
			if (happened)
				each_order(base);
			if (happened && is_cut(fault))
				each_second_cut(base);
			now.call++;
			now.put_back[0] = STAYS;
			now.put_back[1] = STAYS;
			now.restart = false;
		}
	}
}

static void must(TEE_Result res)
{
	if (res) {
		fprintf(stderr, "preparation failed: %#x\n", res);
		exit(1);
	}
}

static void prepare(struct base *base)
{
	static const struct change changes[] = {
		{ "", CREATE, A, LARGE | 1 }, { "", CREATE, B, 1 },
		{ "", INSTALL, X, 1 }, { "", INSTALL, Y, 1 },
		{ "", CREATE, A, LARGE | 2 }, { "", INSTALL, X, 2 },
	};
	size_t n = 0;

	memset(base, 0, sizeof(*base));
	for (n = 0; n < ARRAY_SIZE(changes); n++) {
		if (n == 4) {
			base->older = disk_copy();
		}
		must(carry_out(changes + n));
		base->state = after(changes + n, base->state);
	}
	base->disk = disk_copy();
	base->memory = secure_memory;
	if (core_heap_used()) {
		fprintf(stderr, "the core's heap has a leak\n");
		exit(1);
	}
}

/* A new directory over the counter: it stays, and what was before does not */
static void each_cut_of_a_reset(const struct base *base,
				const struct disk *nothing)
{
	static const struct change create = { "reset", CREATE, A, 3 };
	bool happened = false;
	bool reached = true;

	for (now = (struct run){ .change = &create, .fault = CUT_BEFORE };
	     now.fault <= CUT_AFTER; now.fault++) {
		reached = true;
		for (now.call = 0; reached; now.call++) {
			runs++;
			failed = false;
			restart();
			disk_put_back(nothing);
			secure_memory = base->memory;
			possible = (struct states){ 1, { } };
			reached = change(&create, now.call, now.fault,
					 &happened);
			restart();
			/* Whoever resets a device removes the rest of a try */
			if (happened)
				disk_put_back(nothing);
			possible = (struct states){ 1, { } };
			change(&create, 0, NO_FAULT, &happened);
			if (possible.count > 1)
				violation("a reset fails", NULL);
			restart();
			observe(true);
			disk_put_back(base->disk);
			observe(false);
		}
	}
}

int main(int argc, char *argv[])
{
	enum { FIRST_OBJECT, FIRST_TA = 8 };
	static const struct change changes[] = {
		[FIRST_OBJECT] = { "create", CREATE, C, 3 },
		{ "replace", CREATE, A, LARGE | 3 },
		{ "write", WRITE, A, LARGE | 3 },
		{ "truncate", TRUNCATE, A, LARGE | CUT_SHORT | 2 },
		{ "truncate to its size", TRUNCATE, A, LARGE | 2 },
		{ "remove", REMOVE, A, 0 },
		{ "rename", RENAME, A, C },
		{ "rename over", RENAME, A, B },
		[FIRST_TA] = { "install", INSTALL, Z, LARGE | 3 },
		{ "update", INSTALL, X, 3 },
		{ "delete", DELETE, X, 0 },
	};
	/* A new device has no older state */
	struct base empty = { .disk = disk_copy(), .older = disk_copy() };
	struct base base = { };
	size_t n = 0;

	first_only = argc > 1 && !strcmp(argv[1], "first");
	signal(SIGABRT, on_abort);
	__sanitizer_set_death_callback(die);

	prepare(&base);
	if (IS_ENABLED(CFG_REE_FS_ALLOW_RESET)) {
		each_cut_of_a_reset(&base, empty.disk);
	} else {
		for (n = 0; n < ARRAY_SIZE(changes); n++) {
			each_fault(&base, changes + n, false);
			each_fault(&base, changes + n, true);
		}
		each_fault(&empty, changes + FIRST_OBJECT, false);
		each_fault(&empty, changes + FIRST_TA, false);
	}
	restart();
	disk_free(base.older);
	disk_free(base.disk);
	disk_free(empty.older);
	disk_free(empty.disk);
	printf("%lu runs, %lu violations\n", runs, violations);

	return violations ? 1 : 0;
}
