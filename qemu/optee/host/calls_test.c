// SPDX-License-Identifier: BSD-2-Clause
/*
 * How many calls to tee-supplicant an operation on an object and a command of
 * the broker cost, and that what the core remembers to make fewer of them is
 * what storage holds.
 */
#include "client.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tee/tee_fs.h>
#include <tee/tee_pobj.h>
#include <tee_api_defines.h>

#define BLOCK_SIZE	4096
#define MAX_SIZE	(6 * BLOCK_SIZE)
#define LARGE_SIZE	(40 * BLOCK_SIZE)
#define STEPS		3000

/* For 2 blocks, and the hash trees of all objects of the test */
#define HEAP_SIZE	(4 * BLOCK_SIZE)

/* An object of one block: what a TA's object starts with, and its data */
#define HEAD_SIZE	28
#define DATA_SIZE	300
#define OBJECT_SIZE	(HEAD_SIZE + DATA_SIZE)

/* The directory has 34 entries in a block */
static const unsigned int directory_sizes[] = { 1, 10, 30, 100 };

enum operation { OPEN, MISS, READ, WRITE, APPEND, REPLACE, CREATE, REMOVE };

static const char *const operation_names[] = {
	[OPEN] = "open and close",
	[MISS] = "open one that is not there",
	[READ] = "read",
	[WRITE] = "write all of it",
	[APPEND] = "append to it",
	[REPLACE] = "replace",
	[CREATE] = "create",
	[REMOVE] = "remove",
};

#define SIZE_COUNT	ARRAY_SIZE(directory_sizes)
#define OPERATION_COUNT	ARRAY_SIZE(operation_names)

static struct calls costs[OPERATION_COUNT][SIZE_COUNT];
static unsigned int violations;

static void violation(const char *what)
{
	if (violations++ < 8)
		fprintf(stderr, "%s\n", what);
}

static void must(TEE_Result res)
{
	if (res) {
		fprintf(stderr, "an operation failed: %#x\n", res);
		exit(1);
	}
}

static struct tee_pobj name_of(unsigned int number)
{
	static char name[12];

	snprintf(name, sizeof(name), "%u", number);

	return (struct tee_pobj){ .uuid = { .timeLow = 0x0b1ec7 },
				  .obj_id = name, .obj_id_len = strlen(name) };
}

static const uint8_t *plaintext(void)
{
	static uint8_t octets[OBJECT_SIZE + DATA_SIZE];

	memset(octets, PLAINTEXT, sizeof(octets));

	return octets;
}

static struct tee_file_handle *open_object(unsigned int number)
{
	struct tee_pobj po = name_of(number);
	struct tee_file_handle *fh = NULL;

	must(ree_fs_ops.open(&po, NULL, &fh));

	return fh;
}

static struct tee_file_handle *create_object(unsigned int number)
{
	struct tee_pobj po = name_of(number);
	struct tee_file_handle *fh = NULL;

	must(ree_fs_ops.create(&po, true, plaintext(), HEAD_SIZE, NULL, 0,
			       plaintext(), NULL, DATA_SIZE, &fh));

	return fh;
}

/* The contents, which must have @size octets */
static const uint8_t *contents(struct tee_file_handle *fh, size_t size)
{
	static uint8_t octets[MAX_SIZE + 1];
	size_t found = sizeof(octets);

	must(ree_fs_ops.read(fh, 0, octets, NULL, &found));
	if (found != size) {
		violation("an object has another size");
		memset(octets, 0, sizeof(octets));
	}

	return octets;
}

static void carry_out(enum operation operation, unsigned int last)
{
	struct tee_file_handle *fh = NULL;
	struct tee_pobj po = { };

	switch (operation) {
	case OPEN:
		fh = open_object(last);
		break;
	case MISS:
		po = name_of(last + 1);
		if (ree_fs_ops.open(&po, NULL, &fh) != TEE_ERROR_ITEM_NOT_FOUND)
			violation("an object is there that must not be");
		break;
	case READ:
		fh = open_object(last);
		if (memcmp(contents(fh, OBJECT_SIZE), plaintext(), OBJECT_SIZE))
			violation("an object has other contents");
		break;
	case WRITE:
		fh = open_object(last);
		must(ree_fs_ops.write(fh, 0, plaintext(), NULL, OBJECT_SIZE));
		break;
	case APPEND:
		fh = open_object(last);
		must(ree_fs_ops.write(fh, OBJECT_SIZE, plaintext(), NULL,
				      DATA_SIZE));
		break;
	case REPLACE:
		fh = create_object(last);
		break;
	case CREATE:
		fh = create_object(last + 1);
		break;
	case REMOVE:
		po = name_of(last + 1);
		must(ree_fs_ops.remove(&po));
		break;
	}
	ree_fs_ops.close(&fh);
}

/* Its hash tree does not end in the blocks that are read ahead */
static void check_large_object(void)
{
	static uint8_t octets[LARGE_SIZE];
	static uint8_t found[LARGE_SIZE];
	struct tee_pobj po = name_of(0);
	struct tee_file_handle *fh = NULL;
	size_t size = sizeof(found);
	size_t n = 0;

	for (n = 0; n < sizeof(octets); n++)
		octets[n] = n / BLOCK_SIZE + n;
	must(ree_fs_ops.create(&po, true, NULL, 0, NULL, 0, octets, NULL,
			       sizeof(octets), &fh));
	ree_fs_ops.close(&fh);
	fh = open_object(0);
	must(ree_fs_ops.read(fh, 0, found, NULL, &size));
	if (size != sizeof(found) || memcmp(found, octets, size))
		violation("a large object has other contents");
	ree_fs_ops.close(&fh);
}

static void count_calls(const struct disk *nothing)
{
	struct tee_file_handle *fh = NULL;
	enum operation operation = OPEN;
	unsigned int number = 0;
	size_t n = 0;

	for (n = 0; n < SIZE_COUNT; n++) {
		disk_put_back(nothing);
		secure_memory = (struct secure_memory){ };
		for (number = 1; number <= directory_sizes[n]; number++) {
			fh = create_object(number);
			ree_fs_ops.close(&fh);
		}
		for (operation = OPEN; operation <= REMOVE; operation++) {
			calls_made = (struct calls){ };
			carry_out(operation, directory_sizes[n]);
			costs[operation][n] = calls_made;
		}
	}
}

/* Opens one of the objects that count_calls() made last, while reads fail */
static void check_missing(void)
{
	struct tee_pobj po = { };
	struct tee_file_handle *fh = NULL;
	unsigned int call = 0;
	bool reached = true;
	bool happened = false;
	TEE_Result res = TEE_SUCCESS;

	read_failure = TEE_ERROR_ITEM_NOT_FOUND;
	for (call = 0; reached; call++) {
		po = name_of(directory_sizes[SIZE_COUNT - 1]);
		fault_arm(call, FAILS);
		res = ree_fs_ops.open(&po, NULL, &fh);
		if (!res)
			ree_fs_ops.close(&fh);
		else if (res == TEE_ERROR_ITEM_NOT_FOUND)
			violation("an object whose entry cannot be read looks absent");
		reached = fault_disarm(&happened);
		disk_free(disk_at_fault());
	}
	read_failure = TEE_ERROR_GENERIC;
}

static void print_costs(void)
{
	size_t operation = 0;
	size_t n = 0;

	printf("calls (of these reads, writes) per object in a directory of\n"
	       "%-28s", "");
	for (n = 0; n < SIZE_COUNT; n++)
		printf("%13u", directory_sizes[n]);
	printf("\n");
	for (operation = 0; operation < OPERATION_COUNT; operation++) {
		printf("%-28s", operation_names[operation]);
		for (n = 0; n < SIZE_COUNT; n++)
			printf("%5u (%3u,%2u)", costs[operation][n].all,
			       costs[operation][n].reads,
			       costs[operation][n].writes);
		printf("\n");
	}
}

static void check_costs(void)
{
	size_t operation = 0;

	/* Each of four looks at all entries reads the three blocks they fill */
	for (operation = 0; operation < OPERATION_COUNT; operation++)
		if (costs[operation][SIZE_COUNT - 1].reads >
		    costs[operation][0].reads + 4 * 3)
			violation("a look at an entry reads a block");
	/* Of each file heads and nodes, with a block of the directory */
	if (costs[OPEN]->reads > 2)
		violation("each node is read with a call of its own");
	if (costs[WRITE]->reads > costs[OPEN]->reads)
		violation("a block is read that is overwritten");
	/* Block, node and head of the object, and of the directory */
	if (costs[CREATE]->writes > 6 || costs[REPLACE]->writes > 6)
		violation("a new object is written more than once");
}

/* Octets of the record with so many blobs, about as the broker's */
static size_t record_size(unsigned int blobs)
{
	return 2000 + 100 * blobs;
}

/* What the broker's GetDeviceState is to the store */
static void get_device_state(unsigned int blobs)
{
	static uint8_t record[2 * MAX_SIZE];
	size_t size = sizeof(record);
	void *session = client_open();

	must(client_load(session, record, &size));
	size = sizeof(record);
	must(client_read(session, data_name(1, 0), record, &size));
	must(client_commit(session, record, record_size(blobs), NULL, 0));
	client_close(session);
	core_return();
}

static void count_command(unsigned int blobs)
{
	static uint8_t octets[2 * MAX_SIZE];
	size_t size = sizeof(octets);
	void *session = client_open();
	unsigned int n = 0;

	if (client_load(session, octets, &size) != TEE_ERROR_ITEM_NOT_FOUND)
		violation("a new device has a record");
	for (n = 0; n < blobs; n++) {
		must(client_put(session, data_name(1, n), 0, octets, DATA_SIZE,
				1));
		must(client_commit(session, octets, record_size(blobs), NULL,
				   0));
	}
	client_close(session);
	core_return();

	calls_made = (struct calls){ };
	get_device_state(blobs);
	printf("GetDeviceState with %u blobs: %u calls, %u of them for memory, %u writes\n",
	       blobs, calls_made.all + calls_made.memory, calls_made.memory,
	       calls_made.writes);
	if (calls_made.all + calls_made.memory > 23 || calls_made.writes > 7)
		violation("a command makes more calls than it needs");
}

static void count_commands(const struct disk *nothing)
{
	static const unsigned int blobs[] = { 1, 49, 101 };
	size_t n = 0;

	for (n = 0; n < ARRAY_SIZE(blobs); n++) {
		core_restart();
		disk_put_back(nothing);
		secure_memory = (struct secure_memory){ };
		count_command(blobs[n]);
	}
	core_restart();
}

static unsigned int below(unsigned int limit)
{
	static uint32_t state = 1;

	state = state * 1664525 + 1013904223;

	return (state >> 8) % limit;
}

struct object {
	struct tee_file_handle *fh;
	size_t size;
	uint8_t octets[MAX_SIZE];
};

static bool is_as(struct object *o, const struct object *expected)
{
	size_t size = MAX_SIZE;
	static uint8_t octets[MAX_SIZE];

	return !ree_fs_ops.read(o->fh, 0, octets, NULL, &size) &&
	       size == expected->size &&
	       !memcmp(octets, expected->octets, size);
}

/* Writes to it, or cuts it off or extends it; @o is what it must become */
static TEE_Result change(struct object *o)
{
	uint8_t octets[2 * BLOCK_SIZE + 1] = { };
	size_t pos = below(o->size + 2) * below(2);
	size_t size = 1 + below(sizeof(octets));

	if (!below(4)) {
		size = below(MAX_SIZE + 1);
		if (size > o->size)
			memset(o->octets + o->size, 0, size - o->size);
		o->size = size;
		return ree_fs_ops.truncate(o->fh, size);
	}
	if (!below(3))
		pos = pos / BLOCK_SIZE * BLOCK_SIZE;
	if (size > MAX_SIZE - pos)
		size = MAX_SIZE - pos;
	if (!size)
		return TEE_SUCCESS;
	memset(octets, below(256), size);
	if (pos > o->size)
		memset(o->octets + o->size, 0, pos - o->size);
	memcpy(o->octets + pos, octets, size);
	if (pos + size > o->size)
		o->size = pos + size;

	return ree_fs_ops.write(o->fh, pos, octets, NULL, size);
}

/*
 * Random changes of objects that are open at the same time. Where a call fails
 * the object is as before or as after, and the handle shows nothing else.
 */
static void change_at_random(void)
{
	static struct object objects[3];
	static struct object before;
	bool happened = false;
	bool stays = false;
	unsigned int step = 0;
	size_t n = 0;

	for (n = 0; n < ARRAY_SIZE(objects); n++) {
		objects[n].fh = create_object(n);
		objects[n].size = OBJECT_SIZE;
		memcpy(objects[n].octets, plaintext(), OBJECT_SIZE);
	}
	for (step = 0; step < STEPS; step++) {
		struct object *o = objects + below(ARRAY_SIZE(objects));
		TEE_Result res = TEE_SUCCESS;

		before = *o;
		if (!below(4))
			fault_arm(below(30), FAILS + below(2));
		res = change(o);
		fault_disarm(&happened);
		disk_free(disk_at_fault());
		if (core_heap_used() > HEAP_SIZE)
			violation("the core keeps too many blocks");
		stays = !res;
		if (stays && !is_as(o, o))
			violation("a change is not what is read");
		if (!below(8) || res) {
			ree_fs_ops.close(&o->fh);
			o->fh = open_object(o - objects);
			if (!is_as(o, o)) {
				if (stays || !is_as(o, &before))
					violation("a change is not what is stored");
				before.fh = o->fh;
				*o = before;
			}
		}
	}
	for (n = 0; n < ARRAY_SIZE(objects); n++)
		ree_fs_ops.close(&objects[n].fh);
}

int main(void)
{
	struct disk *nothing = disk_copy();

	count_calls(nothing);
	check_missing();
	check_large_object();
	change_at_random();
	if (core_heap_used())
		violation("the core keeps memory that is nobody's");
	if (core_heap_leaks)
		violation("contents are left in memory that is freed");
	check_costs();
	print_costs();
	count_commands(nothing);

	/* Memory that the core does not get costs speed and no more */
	core_heap_largest = BLOCK_SIZE - 1;
	count_calls(nothing);
	check_large_object();
	change_at_random();
	disk_free(nothing);
	core_restart();

	return violations ? 1 : 0;
}
