// SPDX-License-Identifier: BSD-2-Clause
/*
 * The OTrP store over arbitrary roots, state files and blobs.
 *
 * Everything authenticates here, so that what is altered reaches the code
 * behind. The alterations are the same in every run.
 */
#include "client.h"
#include "world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tee/tee_fs.h>
#include <tee/tee_pobj.h>
#include <tee_api_defines.h>
#include <unistd.h>

void __sanitizer_set_death_callback(void (*callback)(void));

#define ROUNDS		20000
#define BLOB_COUNT	4
#define SIZE		600
#define FILE_SIZE_MAX	4096

static unsigned int now;
static uint64_t random_state;

static uint32_t random_below(uint32_t end)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;

	return (random_state >> 20) % end;
}

static void die(void)
{
	fprintf(stderr, "  in round %u\n", now);
}

static void on_abort(int number)
{
	(void)number;
	die();
	_exit(1);
}

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	die();
	exit(1);
}

static TEE_UUID uuid_of(unsigned int ta)
{
	return (TEE_UUID){ .timeLow = 0x7a000000 + ta };
}

static struct name name_of(unsigned int blob)
{
	TEE_UUID uuid = uuid_of(blob);

	return blob ? image_name(&uuid) : data_name(1, 1);
}

/* Returns the new size */
static size_t alter(uint8_t *octets, size_t size)
{
	static const uint32_t values[] = {
		0, 1, 2, 0x7f, 0x80, 0x81, 0xff, 1024, 1025, 0x20000, 0x20001,
		0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
	};
	uint32_t value = 0;
	size_t width = 0;
	size_t pos = 0;
	int n = 0;

	for (n = 1 + random_below(4); n && size; n--) {
		pos = random_below(size);
		width = 1 + random_below(4);
		if (width > size - pos)
			width = size - pos;
		switch (random_below(5)) {
		case 0:
			octets[pos] ^= 1 << random_below(8);
			break;
		case 1:
			value = values[random_below(ARRAY_SIZE(values))];
			memcpy(octets + pos, &value, width);
			break;
		case 2:
			value = random_below(UINT32_MAX);
			memcpy(octets + pos, &value, width);
			break;
		case 3:
			/* A part of it again, as with two equal entries */
			value = random_below(size);
			width = random_below(size - (pos > value ? pos :
						     value) + 1);
			memmove(octets + pos, octets + value, width);
			break;
		case 4:
			if (!random_below(3))
				size = random_below(size + 1);
			else if (size < FILE_SIZE_MAX - 200)
				size += random_below(200);
			break;
		}
	}

	return size;
}

static void alter_file(const char *name)
{
	uint8_t octets[FILE_SIZE_MAX] = { };
	size_t size = disk_file_size(name);

	disk_read_file(name, octets, size);
	disk_write_file(name, octets, alter(octets, size));
}

/* One field gets a value that may be right */
static void alter_root(void)
{
	static const struct {
		size_t pos;
		size_t size;
	} fields[] = {
		{ 4, 4 }, { 8, 8 }, { 16, 4 }, { 20, 4 }, { 24, 4 }, { 28, 1 },
	};
	struct tee_pobj po = { .uuid = PTA_OTRP_STORE_UUID, .obj_id = "root",
			       .obj_id_len = sizeof("root") };
	uint8_t octets[FILE_SIZE_MAX] = { };
	struct tee_file_handle *fh = NULL;
	size_t field = random_below(ARRAY_SIZE(fields));
	size_t size = sizeof(octets);
	uint64_t value = random_below(8);

	if (ree_fs_ops.open(&po, NULL, &fh) ||
	    ree_fs_ops.read(fh, 0, octets, NULL, &size))
		fail("the root cannot be read");
	if (random_below(2))
		size = alter(octets, size);
	else
		memcpy(octets + fields[field].pos, &value, fields[field].size);
	if (ree_fs_ops.truncate(fh, 0) ||
	    (size && ree_fs_ops.write(fh, 0, octets, NULL, size)))
		fail("the root cannot be written");
	ree_fs_ops.close(&fh);
	core_restart();
}

static void load_image(unsigned int blob)
{
	static uint8_t octets[1 << 16];
	struct ts_store_handle *image = NULL;
	TEE_UUID uuid = uuid_of(blob);
	size_t size = sizeof(octets);

	if (image_open(&uuid, &image))
		return;
	image_read(image, octets, &size);
	image_close(image);
}

static void use(void)
{
	static uint8_t octets[PTA_OTRP_STORE_RECORD_MAX];
	uint8_t digest[PTA_OTRP_STORE_DIGEST_SIZE] = { };
	struct name name = name_of(random_below(BLOB_COUNT));
	void *s = client_open();
	size_t size = sizeof(octets);
	uint32_t version = 0;
	unsigned int blob = 0;
	uint32_t length = 0;

	for (blob = 0; blob < BLOB_COUNT; blob++) {
		load_image(blob);
		size = sizeof(octets);
		client_read(s, name_of(blob), octets, &size);
		client_query(s, name_of(blob), digest, &length, &version);
	}
	size = sizeof(octets);
	client_load(s, octets, &size);
	client_put(s, name_of(random_below(BLOB_COUNT)), 0, octets, SIZE, 2);
	if (!client_commit(s, octets, 100, &name, 1)) {
		size = sizeof(octets);
		if (client_load(s, octets, &size) || size != 100)
			fail("a commit is lost");
		core_restart();
		s = client_open();
		size = sizeof(octets);
		if (client_load(s, octets, &size) || size != 100)
			fail("a commit is lost after a restart");
	}
	client_close(s);
	if (core_heap_used() != store_cache_size())
		fail("the core keeps memory that is nobody's");
}

static void prepare(void)
{
	uint8_t octets[SIZE] = { };
	size_t size = 0;
	void *s = client_open();
	unsigned int blob = 0;

	client_load(s, NULL, &size);
	for (blob = 0; blob < BLOB_COUNT; blob++)
		if (client_put(s, name_of(blob), blob ? 0xa : 0, octets, SIZE,
			       1))
			fail("preparation failed");
	if (client_commit(s, octets, 100, NULL, 0))
		fail("preparation failed");
	client_close(s);
}

int main(void)
{
	struct secure_memory memory = { };
	struct disk *disk = NULL;

	signal(SIGABRT, on_abort);
	__sanitizer_set_death_callback(die);
	crypto_is_open = true;
	prepare();
	disk = disk_copy();
	memory = secure_memory;

	for (now = 0; now < ROUNDS; now++) {
		random_state = 0x9e3779b97f4a7c15ULL * (now + 1);
		core_restart();
		disk_put_back(disk);
		secure_memory = memory;
		if (random_below(2))
			alter_root();
		if (random_below(2))
			alter_file("otrp.s1");
		if (!random_below(4))
			alter_file("otrp.0");
		use();
	}
	core_restart();
	disk_free(disk);
	printf("%u rounds\n", ROUNDS);

	return 0;
}
