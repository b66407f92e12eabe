// SPDX-License-Identifier: BSD-2-Clause
/*
 * OP-TEE's storage and the OTrP store over a normal world that fails, lies and
 * loses power.
 *
 * Each change of storage runs once for each call that it makes and each way in
 * which that call can end, then with and without a restart, with and without
 * files that were copied before or after put back, followed by the same change
 * again or another one. The model is the set of the states that storage may be
 * in: what is reported to a caller narrows it. What is read must be one of them.
 */
#include "client.h"
#include "world.h"

#include <assert.h>
#include <config.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tee/tee_fs.h>
#include <tee/tee_pobj.h>
#include <tee_api_defines.h>
#include <unistd.h>

void __sanitizer_set_death_callback(void (*callback)(void));

/* ---- states, changes and runs ------------------------------------------- */

#define OBJECT_COUNT	3
/* Images of TAs, and data of the broker */
#define BLOB_COUNT	4
#define TA_COUNT	3
#define STATE_COUNT	32
#define REPORT_COUNT	8

/* A version tells the content: which octets, and how many */
#define ABSENT		0
#define LARGE		0x40
#define CUT_SHORT	0x80
#define UNKNOWN		0x100
#define NOT_OBSERVED	0x200

/* Three blocks */
#define CONTENT_SIZE	8300

enum { A, B, C };
enum { X, Y, Z, DATA };

struct state {
	int object[OBJECT_COUNT];
	int record;
	int blob[BLOB_COUNT];
};

enum kind { CREATE, WRITE, TRUNCATE, REMOVE, RENAME, COMMIT };

#define BIT_OF(blob)	(1U << (blob))

struct change {
	const char *name;
	enum kind kind;
	/* Object */
	int target;
	/* Version, also of the record; for RENAME the other object */
	int value;
	/* Blobs that a commit adds or replaces, in this version, and removes */
	unsigned int puts;
	unsigned int removes;
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

/* What is stored when each run begins */
struct fixture {
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
static struct ts_store_handle *held_image[TA_COUNT];
static int held_version[TA_COUNT];

/* ---- reports ------------------------------------------------------------ */

static const char *fault_name(enum fault fault)
{
	static const char *const names[] = {
		"no fault", "fails", "misses", "done but fails", "lies",
		"power cut before", "power cut after",
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
	fprintf(stderr, "record=%x ", s->record);
	for (n = 0; n < BLOB_COUNT; n++)
		fprintf(stderr, "%c=%x ", "XYZD"[n], s->blob[n]);
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

/* ---- contents, objects and blobs ---------------------------------------- */

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

static struct name name_of_blob(int blob)
{
	TEE_UUID uuid = uuid_of(blob);

	return blob == DATA ? data_name(1, 1) : image_name(&uuid);
}

static uint8_t owner_of(int blob)
{
	return blob == DATA ? 0 : 0xaa;
}

static bool nothing_was_stored(void)
{
	return !secure_memory.counter && !secure_memory.has_hash;
}

/* ---- changes ------------------------------------------------------------ */

static TEE_Result load_record(void *session, void *record, size_t *size)
{
	size_t capacity = *size;
	TEE_Result res = client_load(session, record, size);

	/*
	 * A power cut in the first write of all: where there is no counter the
	 * core cannot tell, and the second time it finds a new device.
	 */
	if (is_error(res) && nothing_was_stored()) {
		*size = capacity;
		res = client_load(session, record, size);
	}

	return res;
}

static TEE_Result commit(const struct change *c)
{
	uint8_t record[CONTENT_SIZE] = { };
	struct name names[BLOB_COUNT] = { };
	size_t size = sizeof(record);
	void *session = client_open();
	TEE_Result res = load_record(session, record, &size);
	size_t count = 0;
	int n = 0;

	if (!is_error(res))
		res = TEE_SUCCESS;
	for (n = 0; n < BLOB_COUNT; n++) {
		if (!res && c->puts & BIT_OF(n))
			res = client_put(session, name_of_blob(n), owner_of(n),
					 content_of(c->value),
					 size_of(c->value), c->value);
		if (c->removes & BIT_OF(n))
			names[count++] = name_of_blob(n);
	}
	if (!res)
		res = client_commit(session, content_of(c->value),
				    size_of(c->value), names, count);
	client_close(session);

	return res;
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
	case COMMIT:
		return commit(c);
	default:
		abort();
	}
}

/* ---- the model: what storage may hold ----------------------------------- */

/* Whether there is something that the change needs */
static bool applies(const struct change *c, const struct state *s)
{
	switch (c->kind) {
	case CREATE:
	case COMMIT:
		return true;
	default:
		return s->object[c->target];
	}
}

static struct state after(const struct change *c, struct state s)
{
	int n = 0;

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
	case COMMIT:
		s.record = c->value;
		for (n = 0; n < BLOB_COUNT; n++) {
			if (c->puts & BIT_OF(n))
				s.blob[n] = c->value;
			else if (c->removes & BIT_OF(n))
				s.blob[n] = ABSENT;
		}
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

/* ---- what storage holds ------------------------------------------------- */

static int read_object(struct tee_file_handle *fh)
{
	uint8_t octets[CONTENT_SIZE + 1] = { };
	size_t size = sizeof(octets);

	if (ree_fs_ops.read(fh, 0, octets, NULL, &size))
		return UNKNOWN;
	if (version_of(octets, size) == UNKNOWN)
		violation("an object is torn", NULL);

	return version_of(octets, size);
}

static int find_object(int object)
{
	struct tee_pobj po = name_of(object);
	struct tee_file_handle *fh = NULL;
	TEE_Result res = ree_fs_ops.open(&po, NULL, &fh);
	int version = UNKNOWN;

	/* As load_record() */
	if (is_error(res) && nothing_was_stored())
		res = ree_fs_ops.open(&po, NULL, &fh);
	if (res)
		return is_error(res) ? UNKNOWN : ABSENT;
	version = read_object(fh);
	ree_fs_ops.close(&fh);

	return version;
}

static int find_record(void)
{
	uint8_t octets[CONTENT_SIZE] = { };
	size_t size = sizeof(octets);
	void *session = client_open();
	TEE_Result res = load_record(session, octets, &size);
	int version = UNKNOWN;

	client_close(session);
	if (res)
		return is_error(res) ? UNKNOWN : ABSENT;
	version = version_of(octets, size);
	if (version == UNKNOWN)
		violation("the record is torn", NULL);

	return version;
}

static int version_of_image(struct ts_store_handle *image)
{
	uint8_t octets[CONTENT_SIZE] = { };
	size_t size = sizeof(octets);

	if (image_read(image, octets, &size))
		return UNKNOWN;
	if (version_of(octets, size) == UNKNOWN)
		violation("an image is torn", NULL);

	return version_of(octets, size);
}

static int find_image(int ta)
{
	struct ts_store_handle *image = NULL;
	TEE_UUID uuid = uuid_of(ta);
	TEE_Result res = image_open(&uuid, &image);
	int version = UNKNOWN;

	if (res)
		return is_error(res) ? UNKNOWN : ABSENT;
	version = version_of_image(image);
	image_close(image);

	return version;
}

static int find_data(void)
{
	uint8_t octets[CONTENT_SIZE] = { };
	size_t size = sizeof(octets);
	void *session = client_open();
	TEE_Result res = client_read(session, name_of_blob(DATA), octets,
				     &size);
	int version = UNKNOWN;

	client_close(session);
	if (res)
		return is_error(res) ? UNKNOWN : ABSENT;
	version = version_of(octets, size);
	if (version == UNKNOWN)
		violation("a blob is torn", NULL);

	return version;
}

static bool may_be(int found, int version)
{
	return found == UNKNOWN || found == NOT_OBSERVED || found == version;
}

static bool matches(const struct state *found, const struct state *s)
{
	int n = 0;

	for (n = 0; n < OBJECT_COUNT; n++)
		if (!may_be(found->object[n], s->object[n]))
			return false;
	for (n = 0; n < BLOB_COUNT; n++)
		if (!may_be(found->blob[n], s->blob[n]))
			return false;

	return may_be(found->record, s->record);
}

static bool has_unknown(const struct state *found)
{
	int n = 0;

	for (n = 0; n < OBJECT_COUNT; n++)
		if (found->object[n] == UNKNOWN)
			return true;
	for (n = 0; n < BLOB_COUNT; n++)
		if (found->blob[n] == UNKNOWN)
			return true;

	return found->record == UNKNOWN;
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

/* An object of the TA, as its installation makes one */
static bool has_object(int ta)
{
	TEE_UUID uuid = uuid_of(ta);
	struct tee_pobj po = { .uuid = uuid, .obj_id = "", .obj_id_len = 1 };
	struct tee_file_handle *fh = NULL;

	if (!ree_fs_ops.open(&po, NULL, &fh)) {
		ree_fs_ops.close(&fh);
		return true;
	}

	return secure_memory.rpmb_objects & RPMB_OBJECT(&uuid);
}

static void store_object(int ta)
{
	struct tee_pobj po = { .uuid = uuid_of(ta), .obj_id = "",
			       .obj_id_len = 1 };
	struct tee_file_handle *fh = NULL;

	if (ree_fs_ops.create(&po, true, NULL, 0, NULL, 0, "data", NULL, 4,
			      &fh))
		abort();
	ree_fs_ops.close(&fh);
#ifdef PLATFORM_RPMB
	secure_memory.rpmb_objects |= RPMB_OBJECT(&po.uuid);
#endif
}

/* What a normal world that is honest has of the store */
static void check_remains(const struct state *found)
{
	unsigned int leftovers = 0;
	unsigned int file = 0;
	int blobs = 0;
	size_t n = 0;
	int ta = 0;

	for (n = 0; n < disk_file_count(); n++) {
		const char *name = disk_file_name(n);

		if (!name || sscanf(name, "otrp.%u", &file) != 1)
			continue;
		blobs++;
		if (store_leads_to(file))
			continue;
		leftovers++;
		if (!store_may_overwrite(file))
			violation("a file is left that is nobody's", found);
	}
	if (leftovers > PTA_OTRP_STORE_PENDING_MAX + 1)
		violation("files that are nobody's pile up", found);
	if (store_has_tombstones())
		violation("a tombstone is left", found);
	for (ta = 0; ta < TA_COUNT; ta++)
		if (found->blob[ta] == ABSENT && has_object(ta))
			violation("data of a removed TA is left", found);
	if (found->blob[Y] == 1 && !has_object(Y))
		violation("data of a TA is lost", found);
}

/* What the change is about, and one of what it is not */
static void observe(bool all)
{
	bool is_commit = now.change->kind == COMMIT;
	struct state found = { };
	int n = 0;

	for (n = 0; n < OBJECT_COUNT; n++)
		found.object[n] = !is_commit || n == A ? find_object(n) :
							 NOT_OBSERVED;
	found.record = find_record();
	for (n = 0; n < TA_COUNT; n++)
		found.blob[n] = is_commit ? find_image(n) : NOT_OBSERVED;
	found.blob[DATA] = is_commit ? find_data() : NOT_OBSERVED;
	narrow(found, all);
	if (all && is_commit)
		check_remains(&found);
}

/* Through the handles that are open already */
static void observe_held(void)
{
	struct state found = { };
	int n = 0;

	for (n = 0; n < OBJECT_COUNT; n++)
		found.object[n] = held_object[n] ? read_object(held_object[n]) :
						   UNKNOWN;
	found.record = UNKNOWN;
	for (n = 0; n < BLOB_COUNT; n++)
		found.blob[n] = UNKNOWN;
	narrow(found, false);
}

/* ---- handles that are open across a change ------------------------------ */

static void hold_image(int ta, int version)
{
	TEE_UUID uuid = uuid_of(ta);
	TEE_Result res = image_open(&uuid, held_image + ta);

	assert(!res);
	held_version[ta] = version;
}

static void hold(const struct state *s)
{
	TEE_Result res = TEE_SUCCESS;
	int n = 0;

	hold_image(X, s->blob[X]);
	hold_image(Y, s->blob[Y]);
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

/* Loads that had to wait continue with what they began, clients close objects */
static void release(bool honest)
{
	int version = UNKNOWN;
	int n = 0;

	for (n = 0; n < OBJECT_COUNT; n++)
		ree_fs_ops.close(held_object + n);
	for (n = 0; n < TA_COUNT; n++) {
		if (!held_image[n])
			continue;
		version = version_of_image(held_image[n]);
		if (version != held_version[n] &&
		    (honest || version != UNKNOWN))
			violation("a load got other octets", NULL);
		image_close(held_image[n]);
		held_image[n] = NULL;
	}
}

static bool is_held(void)
{
	int n = 0;

	for (n = 0; n < OBJECT_COUNT; n++)
		if (held_object[n])
			return true;

	return held_image[X] || held_image[Y];
}

static void check_heap(void)
{
	if (core_heap_used() != store_cache_size())
		violation("the core keeps memory that is nobody's", NULL);
}

static void restart(void)
{
	memset(held_object, 0, sizeof(held_object));
	memset(held_image, 0, sizeof(held_image));
	core_restart();
}

/* ---- one run ------------------------------------------------------------ */

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
	if (answered && !is_held())
		check_heap();

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
static bool run(const struct fixture *fixture, bool *happened)
{
	static const struct change others[] = {
		{ "", CREATE, C, 5, 0, 0 },
		{ "", COMMIT, 0, 5, BIT_OF(Z) | BIT_OF(X), BIT_OF(DATA) },
	};
	static const struct change lasts[] = {
		{ "", CREATE, B, LARGE | 7, 0, 0 },
		{ "", COMMIT, 0, LARGE | 7, BIT_OF(DATA), BIT_OF(Z) },
	};
	bool is_commit = now.change->kind == COMMIT;
	const struct disk *disks[] = { [OLDER] = fixture->older,
					[BEFORE] = fixture->disk,
					[AHEAD] = NULL };
	struct disk *at_fault = NULL;
	struct disk *ahead = NULL;
	struct disk *present = NULL;
	bool honest_before = now.fault != LIES && now.put_back[0] == STAYS;
	bool honest = honest_before && now.put_back[1] == STAYS;
	const struct change *second = now.again ? now.change :
						  others + is_commit;
	bool reached = false;
	bool second_happened = false;

	restart();
	disk_put_back(fixture->disk);
	secure_memory = fixture->memory;
	possible = (struct states){ 1, { fixture->state } };
	failed = false;

	if (now.held)
		hold(&fixture->state);
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
	observe(honest && !is_held());

	reached = change(second, now.second_call, now.second_fault,
			 &second_happened);
	if (now.cut_again) {
		*happened = second_happened;
		restart();
		if (!second_happened) {
			runs--;
			disk_free(at_fault);
			disk_free(ahead);
			return reached;
		}
	}
	present = disk_copy();
	put_back(disks, now.put_back[1]);
	observe_held();
	if (is_held())
		observe(false);
	release(honest);
	check_heap();
	observe(honest);
	if (now.put_back[1] != STAYS) {
		/* What did not open has changed nothing */
		disk_put_back(present);
		restart();
		observe(honest_before);
	}
	change(lasts + is_commit, 0, NO_FAULT, &second_happened);
	if (honest_before && possible.count > 1)
		violation("the next change fails", NULL);
	restart();
	observe(honest_before);
	disk_free(disk_at_fault());
	disk_free(at_fault);
	disk_free(ahead);
	disk_free(present);

	return reached || !now.cut_again;
}

/* ---- all runs ----------------------------------------------------------- */

/*
 * Without a counter any older state opens; with a counter alone, also what was
 * stored and reported as not stored. What a restart loses are open handles of
 * objects, and the cache of the store.
 */
static void each_order(const struct fixture *fixture)
{
	bool is_commit = now.change->kind == COMMIT;
	enum source firsts = platform_keeps_hash() ? BEFORE : STAYS;
	enum source seconds = platform_keeps_hash() ? AHEAD :
			      platform_keeps_counter() ? BEFORE : STAYS;
	unsigned int bits = 0;
	enum source first = STAYS;
	enum source second = STAYS;
	bool happened = false;

	for (bits = 0; bits < (now.held != is_commit ? 4 : 2); bits++) {
		now.again = bits & 1;
		now.restart = bits & 2;
		for (first = STAYS; first <= firsts; first += BEFORE) {
			for (second = STAYS; second <= seconds; second++) {
				/* Then the files are the same as ahead */
				if (is_cut(now.fault) && second == AT_FAULT)
					continue;
				now.put_back[0] = first;
				now.put_back[1] = second;
				run(fixture, &happened);
			}
		}
	}
}

/* Two power cuts: with the second in what follows the first */
static void each_second_cut(const struct fixture *fixture)
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
			while (run(fixture, &happened))
				now.second_call++;
		}
	}
	now.cut_again = false;
	now.second_call = 0;
	now.second_fault = NO_FAULT;
}

/* Power cuts leave no open handles, and are the same with and without */
static void each_fault(const struct fixture *fixture, const struct change *c,
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
		while (run(fixture, &happened)) {
			if (happened)
				each_order(fixture);
			if (happened && is_cut(fault))
				each_second_cut(fixture);
			now.call++;
			now.put_back[0] = STAYS;
			now.put_back[1] = STAYS;
			now.restart = false;
		}
	}
}

/* ---- the fixture -------------------------------------------------------- */

static void must(TEE_Result res)
{
	if (res) {
		fprintf(stderr, "preparation failed: %#x\n", res);
		exit(1);
	}
}

static void make_fixture(struct fixture *fixture)
{
	static const struct change changes[] = {
		{ "", CREATE, A, LARGE | 1, 0, 0 },
		{ "", CREATE, B, 1, 0, 0 },
		{ "", COMMIT, 0, 1, BIT_OF(X) | BIT_OF(Y) | BIT_OF(DATA), 0 },
		{ "", CREATE, A, LARGE | 2, 0, 0 },
		{ "", COMMIT, 0, 2, BIT_OF(X), 0 },
	};
	size_t n = 0;

	memset(fixture, 0, sizeof(*fixture));
	for (n = 0; n < ARRAY_SIZE(changes); n++) {
		if (n == 3) {
			store_object(X);
			store_object(Y);
			fixture->older = disk_copy();
		}
		must(carry_out(changes + n));
		fixture->state = after(changes + n, fixture->state);
	}
	fixture->disk = disk_copy();
	fixture->memory = secure_memory;
	if (core_heap_used() != store_cache_size()) {
		fprintf(stderr, "the core's heap has a leak\n");
		exit(1);
	}
}

/* ---- a reset ------------------------------------------------------------ */

/* A new directory over the counter: it stays, and what was before does not */
static void each_cut_of_a_reset(const struct fixture *fixture,
				const struct disk *nothing)
{
	static const struct change create = { "reset", CREATE, A, 3, 0, 0 };
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
			secure_memory = fixture->memory;
			possible = (struct states){ 1, { } };
			reached = change(&create, now.call, now.fault,
					 &happened);
			restart();
			/*
			 * An attacker puts the old files back instead, and what
			 * was before stays out, or is what it was: the
			 * product's core is tried here, which resets nothing
			 */
			if (happened) {
				disk_put_back(fixture->older);
				possible = (struct states){ 1, { } };
				possible.of[1] = fixture->state;
				possible.count = 2;
				observe(false);
				restart();
			}
			/* Whoever resets a device removes the rest of a try */
			if (happened)
				disk_put_back(nothing);
			possible = (struct states){ 1, { } };
			change(&create, 0, NO_FAULT, &happened);
			if (possible.count > 1)
				violation("a reset fails", NULL);
			restart();
			observe(true);
			disk_put_back(fixture->disk);
			observe(false);
		}
	}
}

/* ---- all changes -------------------------------------------------------- */

int main(int argc, char *argv[])
{
	enum { FIRST_OBJECT, FIRST_COMMIT = 8 };
	static const struct change changes[] = {
		[FIRST_OBJECT] = { "create", CREATE, C, 3, 0, 0 },
		{ "replace", CREATE, A, LARGE | 3, 0, 0 },
		{ "write", WRITE, A, LARGE | 3, 0, 0 },
		{ "truncate", TRUNCATE, A, LARGE | CUT_SHORT | 2, 0, 0 },
		{ "truncate to its size", TRUNCATE, A, LARGE | 2, 0, 0 },
		{ "remove", REMOVE, A, 0, 0, 0 },
		{ "rename", RENAME, A, C, 0, 0 },
		{ "rename over", RENAME, A, B, 0, 0 },
		[FIRST_COMMIT] = { "install", COMMIT, 0, LARGE | 3, BIT_OF(Z),
				   0 },
		{ "update", COMMIT, 0, 3, BIT_OF(X) | BIT_OF(DATA), 0 },
		{ "delete", COMMIT, 0, 3, 0, BIT_OF(X) | BIT_OF(DATA) },
		{ "exchange", COMMIT, 0, 3, BIT_OF(Z) | BIT_OF(X),
		  BIT_OF(X) | BIT_OF(Y) },
		{ "record", COMMIT, 0, LARGE | 3, 0, 0 },
	};
	/* A new device has no older state */
	struct fixture empty = { .disk = disk_copy(), .older = disk_copy() };
	struct fixture fixture = { };
	size_t n = 0;

	first_only = argc > 1 && !strcmp(argv[1], "first");
	signal(SIGABRT, on_abort);
	__sanitizer_set_death_callback(die);

	make_fixture(&fixture);
	if (IS_ENABLED(CFG_REE_FS_ALLOW_RESET)) {
		each_cut_of_a_reset(&fixture, empty.disk);
	} else {
		each_fault(&empty, changes + FIRST_COMMIT, false);
		each_fault(&empty, changes + FIRST_OBJECT, false);
		for (n = 0; n < ARRAY_SIZE(changes); n++) {
			each_fault(&fixture, changes + n, false);
			each_fault(&fixture, changes + n, true);
		}
	}
	restart();
	disk_free(fixture.older);
	disk_free(fixture.disk);
	disk_free(empty.older);
	disk_free(empty.disk);
	printf("%lu runs, %lu violations\n", runs, violations);

	return violations ? 1 : 0;
}
