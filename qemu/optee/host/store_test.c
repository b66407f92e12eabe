// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the OTrP store refuses and what it bounds, in rows. The faults are
 * storage_test.c's.
 */
#include "client.h"
#include "world.h"

#include <assert.h>
#include <config.h>
#include <crypto/crypto.h>
#include <kernel/early_ta.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tee/tee_fs.h>
#include <tee/tee_pobj.h>
#include <tee_api_defines.h>
#include <tee_api_defines_extensions.h>

#define SIZE		5000
#define RECORD_SIZE	200
/* As many as the broker has at most, with its longest record */
#define ENTRY_COUNT	305
/* As many as the store can have */
#define ENTRY_COUNT_MAX	1024
#define LONG_RECORD	(61 * 1024)

static unsigned int rows;
static unsigned int failures;

#define CHECK(row) check(row, #row, __LINE__)

static void check(bool holds, const char *row, int line)
{
	rows++;
	if (holds)
		return;
	failures++;
	fprintf(stderr, "store_test.c:%d: %s\n", line, row);
}

/* ---- the fixture: a device, its contents, and what is asked of it ------- */

static uint8_t octets[LONG_RECORD];
static uint8_t found[LONG_RECORD];

static const uint8_t *content(uint8_t version)
{
	size_t n = 0;

	for (n = 0; n < sizeof(octets); n++)
		octets[n] = version + n * 7 + (n >> 8);

	return octets;
}

static TEE_UUID uuid_of(unsigned int ta)
{
	return (TEE_UUID){ .timeLow = 0x7a000000 + ta };
}

static struct name image(unsigned int ta)
{
	TEE_UUID uuid = uuid_of(ta);

	return image_name(&uuid);
}

static void new_device(void)
{
	struct disk *empty = NULL;
	size_t n = 0;

	core_restart();
	for (n = 0; n < disk_file_count(); n++)
		if (disk_file_name(n))
			disk_remove_file(disk_file_name(n));
	empty = disk_copy();
	disk_put_back(empty);
	disk_free(empty);
	secure_memory = (struct secure_memory){ };
	disk_capacity = 0;
	core_heap_failure = 0;
	running_ta = (TEE_UUID){ };
	host_early_ta.uuid = (TEE_UUID){ .timeLow = 1 };
}

static TEE_Result load(void *session, uint8_t version)
{
	size_t size = sizeof(found);
	TEE_Result res = client_load(session, found, &size);

	if (!res && (size != RECORD_SIZE ||
		     memcmp(found, content(version), size)))
		return TEE_ERROR_GENERIC;

	return res;
}

static TEE_Result put(void *session, struct name name, uint8_t owner,
		      uint8_t version)
{
	return client_put(session, name, owner, content(version), SIZE,
			  version);
}

static TEE_Result commit(void *session, uint8_t version)
{
	return client_commit(session, content(version), RECORD_SIZE, NULL, 0);
}

static TEE_Result remove_blob(void *session, struct name name, uint8_t version)
{
	return client_commit(session, content(version), RECORD_SIZE, &name, 1);
}

/* TEE_SUCCESS if the blob is there in this version */
static TEE_Result read_blob(void *session, struct name name, uint8_t version)
{
	size_t size = sizeof(found);
	TEE_Result res = client_read(session, name, found, &size);

	if (!res && (size != SIZE || memcmp(found, content(version), SIZE)))
		return TEE_ERROR_GENERIC;

	return res;
}

static TEE_Result load_image(unsigned int ta, uint8_t version)
{
	struct ts_store_handle *handle = NULL;
	TEE_UUID uuid = uuid_of(ta);
	size_t size = sizeof(found);
	TEE_Result res = image_open(&uuid, &handle);

	if (res)
		return res;
	res = image_read(handle, found, &size);
	image_close(handle);
	if (!res && memcmp(found, content(version), SIZE))
		return TEE_ERROR_GENERIC;

	return res;
}

static void check_heap(void)
{
	CHECK(core_heap_used() == store_cache_size());
}

/* A device with the images 1 to 3, 3 of another owner, and a blob */
static void *open_fixture(void)
{
	void *s = NULL;

	new_device();
	s = client_open();
	CHECK(load(s, 0) == TEE_ERROR_ITEM_NOT_FOUND);
	CHECK(!put(s, image(1), 0xa, 1));
	CHECK(!put(s, image(2), 0xa, 1));
	CHECK(!put(s, image(3), 0xb, 1));
	CHECK(!put(s, data_name(1, 1), 0, 1));
	CHECK(!commit(s, 1));

	return s;
}

static void close_fixture(void *session)
{
	client_close(session);
	check_heap();
}

/* ---- who may call, and with what ---------------------------------------- */

static void check_callers(void)
{
	static const TEE_UUID conformance = OTRP_CONFORMANCE_UUID;
	static const TEE_UUID broker = OTRP_BROKER_UUID;
	const struct pseudo_ta_head *pta = host_pseudo_tas;
	TEE_Param params[TEE_NUM_PARAMS] = { };
	TEE_UUID other = uuid_of(1);
	const struct {
		const TEE_UUID *uuid;
		bool is_user_ta;
	} callers[] = {
		{ NULL, false }, { &other, true }, { &conformance, true },
		{ &broker, false },
	};
	void *session = open_fixture();
	void *refused = NULL;
	uint32_t command = 0;
	size_t n = 0;

	for (n = 0; n < ARRAY_SIZE(callers); n++) {
		call_as(callers[n].uuid, callers[n].is_user_ta, false);
		CHECK(pta->open_session_entry_point(0, params, &refused) ==
		      TEE_ERROR_ACCESS_DENIED);
		CHECK(!refused);
		for (command = 0; command < 9; command++)
			CHECK(pta->invoke_command_entry_point(session, command,
							      0, params) ==
			      TEE_ERROR_ACCESS_DENIED);
	}
	call_as(&broker, true, false);
	CHECK(pta->open_session_entry_point(1, params, &refused) ==
	      TEE_ERROR_BAD_PARAMETERS);
	client_close(NULL);
	close_fixture(session);
}

static void check_parameters(void)
{
	enum { IN = TEE_PARAM_TYPE_MEMREF_INPUT,
	       OUT = TEE_PARAM_TYPE_MEMREF_OUTPUT,
	       VALUE_IN = TEE_PARAM_TYPE_VALUE_INPUT,
	       VALUE_OUT = TEE_PARAM_TYPE_VALUE_OUTPUT };
	static const struct {
		uint32_t types;
		/* Sizes of memrefs that are right */
		size_t sizes[2];
		/* Whether another size is wrong */
		bool is_exact[2];
	} commands[] = {
		[PTA_OTRP_STORE_LOAD] = { TEE_PARAM_TYPES(OUT, 0, 0, 0),
					  { RECORD_SIZE }, { } },
		[PTA_OTRP_STORE_BEGIN] = { TEE_PARAM_TYPES(IN, VALUE_IN, 0, 0),
					   { 49 }, { true } },
		[PTA_OTRP_STORE_WRITE] = { TEE_PARAM_TYPES(IN, 0, 0, 0),
					   { SIZE }, { } },
		[PTA_OTRP_STORE_SEAL] = { 0, { }, { } },
		[PTA_OTRP_STORE_ABORT] = { 0, { }, { } },
		[PTA_OTRP_STORE_COMMIT] = { TEE_PARAM_TYPES(IN, IN, 0, 0),
					    { RECORD_SIZE, 17 },
					    { false, true } },
		[PTA_OTRP_STORE_READ] = { TEE_PARAM_TYPES(IN, OUT, 0, 0),
					  { 17, SIZE }, { true } },
		[PTA_OTRP_STORE_QUERY] = { TEE_PARAM_TYPES(IN, OUT, VALUE_OUT,
							   0),
					   { 17, 32 }, { true } },
	};
	static uint8_t buffers[2][SIZE + 1] = { { 1 }, { 1 } };
	TEE_Param params[TEE_NUM_PARAMS] = { };
	void *session = open_fixture();
	uint32_t command = 0;
	size_t n = 0;
	int more = 0;

	for (command = 0; command < ARRAY_SIZE(commands); command++) {
		for (n = 0; n < 4 * 16; n++) {
			uint32_t types = commands[command].types ^
					 (n % 16) << (n / 16 * 4);

			if (types == commands[command].types)
				continue;
			client_begin(session, data_name(1, 2), 0, SIZE, 1);
			memset(params, 0, sizeof(params));
			params[0].memref.buffer = buffers[0];
			params[0].memref.size = commands[command].sizes[0];
			CHECK(invoke(session, command, types, params) ==
			      TEE_ERROR_BAD_PARAMETERS);
		}
		for (n = 0; n < 2; n++) {
			for (more = -1; more <= 1; more += 2) {
				if (!commands[command].is_exact[n])
					continue;
				params[0].memref.buffer = buffers[0];
				params[0].memref.size =
					commands[command].sizes[0];
				if (commands[command].sizes[1]) {
					params[1].memref.buffer = buffers[1];
					params[1].memref.size =
						commands[command].sizes[1];
				}
				params[n].memref.size += more;
				CHECK(invoke(session, command,
					     commands[command].types, params) ==
				      TEE_ERROR_BAD_PARAMETERS);
			}
		}
	}
	CHECK(invoke(session, command, 0, params) ==
	      TEE_ERROR_NOT_IMPLEMENTED);
	CHECK(!load(session, 1));
	CHECK(client_commit(session, NULL, 0, NULL, 0) ==
	      TEE_ERROR_BAD_PARAMETERS);
	CHECK(client_commit(session, octets, PTA_OTRP_STORE_RECORD_MAX + 1,
			    NULL, 0) == TEE_ERROR_BAD_PARAMETERS);
	CHECK(!load(session, 1));
	close_fixture(session);
}

static void check_begin(void)
{
	static const TEE_UUID nil = { };
	static const TEE_UUID reserved[] = {
		OTRP_BROKER_UUID, PTA_OTRP_STORE_UUID, { .timeLow = 1 },
	};
	void *s = open_fixture();
	struct name name = { };
	size_t n = 0;

	for (n = 0; n < ARRAY_SIZE(reserved); n++)
		CHECK(client_begin(s, image_name(reserved + n), 1, SIZE, 1) ==
		      TEE_ERROR_ACCESS_CONFLICT);
	CHECK(client_begin(s, image_name(&nil), 1, SIZE, 1) ==
	      TEE_ERROR_BAD_PARAMETERS);
	CHECK(client_begin(s, image(4), 1, 0, 1) == TEE_ERROR_BAD_PARAMETERS);
	CHECK(client_begin(s, image(4), 1, 0x80000000, 1) ==
	      TEE_ERROR_BAD_PARAMETERS);
	CHECK(client_begin(s, data_name(0x80, 1), 0, SIZE, 1) ==
	      TEE_ERROR_BAD_PARAMETERS);
	CHECK(client_begin(s, data_name(0x81, 1), 0, SIZE, 1) ==
	      TEE_ERROR_BAD_PARAMETERS);
	CHECK(client_begin(s, data_name(1, 1), 1, SIZE, 1) ==
	      TEE_ERROR_BAD_PARAMETERS);
	/* A refused name to remove changes nothing */
	name = data_name(0x81, 0);
	CHECK(remove_blob(s, name, 2) == TEE_ERROR_BAD_PARAMETERS);
	CHECK(read_blob(s, name, 1) == TEE_ERROR_BAD_PARAMETERS);
	CHECK(!load(s, 1));

	CHECK(!client_begin(s, data_name(0x7f, 0), 0, 0, 9));
	CHECK(!client_seal(s));
	CHECK(!client_begin(s, image(4), 1, 0x7fffffff, 1));
	CHECK(!commit(s, 2));
	close_fixture(s);
}

/* ---- blobs: writing, reading, files ------------------------------------- */

static void check_write(void)
{
	void *s = open_fixture();
	size_t size = 0;
	size_t n = 0;

	CHECK(client_write(s, content(1), 1) == TEE_ERROR_BAD_STATE);
	CHECK(client_seal(s) == TEE_ERROR_BAD_STATE);
	CHECK(!client_abort(s));

	CHECK(!client_begin(s, image(4), 1, SIZE, 1));
	CHECK(client_write(s, content(1), 0) == TEE_ERROR_BAD_PARAMETERS);
	CHECK(client_write(s, content(1), 1) == TEE_ERROR_BAD_STATE);
	CHECK(!client_begin(s, image(4), 1, SIZE, 1));
	CHECK(!client_write(s, content(1), SIZE));
	CHECK(client_write(s, content(1), 1) == TEE_ERROR_EXCESS_DATA);
	CHECK(client_seal(s) == TEE_ERROR_BAD_STATE);
	CHECK(!client_begin(s, image(4), 1, SIZE, 1));
	CHECK(!client_write(s, content(1), SIZE - 1));
	CHECK(client_seal(s) == TEE_ERROR_BAD_STATE);
	CHECK(client_write(s, content(1), 1) == TEE_ERROR_BAD_STATE);
	CHECK(!client_begin(s, image(4), 1, SIZE, 1));
	CHECK(!client_begin(s, image(4), 1, SIZE, 1));
	CHECK(!client_write(s, content(1), SIZE));

	/* An open blob is not committed */
	CHECK(!commit(s, 2));
	CHECK(read_blob(s, image(4), 1) == TEE_ERROR_ITEM_NOT_FOUND);
	CHECK(client_seal(s) == TEE_ERROR_BAD_STATE);

	/* The last of one name counts, and once */
	for (n = 0; n < 10; n++)
		CHECK(!put(s, image(4), 0xa, n));
	CHECK(!put(s, image(1), 0xa, 2));
	CHECK(!put(s, image(5), 0xa, 2));
	CHECK(!put(s, image(6), 0xa, 2));
	CHECK(put(s, image(7), 0xa, 2) == TEE_ERROR_BAD_STATE);
	CHECK(!remove_blob(s, image(4), 3));
	CHECK(!read_blob(s, image(4), 9));
	CHECK(!read_blob(s, image(1), 2));
	CHECK(!remove_blob(s, image(7), 4));

	size = RECORD_SIZE - 1;
	CHECK(client_load(s, found, &size) == TEE_ERROR_SHORT_BUFFER);
	CHECK(size == RECORD_SIZE);
	CHECK(commit(s, 5) == TEE_ERROR_BAD_STATE);
	size = SIZE - 1;
	CHECK(client_read(s, image(1), found, &size) ==
	      TEE_ERROR_SHORT_BUFFER);
	CHECK(size == SIZE);
	close_fixture(s);
}

static void check_query(void)
{
	uint8_t expected[PTA_OTRP_STORE_DIGEST_SIZE] = { };
	uint8_t digest[PTA_OTRP_STORE_DIGEST_SIZE] = { };
	struct name name = image(1);
	TEE_Param params[TEE_NUM_PARAMS] = {
		{ .memref = { &name, sizeof(name) } },
		{ .memref = { digest, sizeof(digest) - 1 } },
	};
	void *s = open_fixture();
	uint32_t version = 0;
	uint32_t size = 0;
	void *hash = NULL;

	crypto_hash_alloc_ctx(&hash, TEE_ALG_SHA256);
	crypto_hash_init(hash);
	crypto_hash_update(hash, content(2), SIZE);
	crypto_hash_final(hash, expected, sizeof(expected));
	crypto_hash_free_ctx(hash);
	CHECK(!client_put(s, image(1), 0xa, content(2), SIZE, 0xfffffffe));
	CHECK(!commit(s, 2));
	CHECK(!client_query(s, image(1), digest, &size, &version));
	CHECK(!memcmp(digest, expected, sizeof(digest)));
	CHECK(size == SIZE && version == 0xfffffffe);
	CHECK(client_query(s, image(9), digest, &size, &version) ==
	      TEE_ERROR_ITEM_NOT_FOUND);
	CHECK(invoke(s, PTA_OTRP_STORE_QUERY,
		     TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_INPUT,
				     TEE_PARAM_TYPE_MEMREF_OUTPUT,
				     TEE_PARAM_TYPE_VALUE_OUTPUT, 0),
		     params) == TEE_ERROR_SHORT_BUFFER);
	CHECK(params[1].memref.size == sizeof(digest));
	close_fixture(s);
}

static unsigned int blob_files(void)
{
	unsigned int count = 0;
	unsigned int file = 0;
	size_t n = 0;

	for (n = 0; n < disk_file_count(); n++)
		if (disk_file_name(n) &&
		    sscanf(disk_file_name(n), "otrp.%u", &file) == 1)
			count++;

	return count;
}

/* Nothing remains of blobs that were not committed, or were removed */
static void check_files(void)
{
	void *other = NULL;
	void *s = open_fixture();
	unsigned int n = 0;

	CHECK(blob_files() == 4);
	for (n = 0; n < 3; n++) {
		CHECK(!put(s, image(4), 0xa, 1) && !put(s, image(4), 0xa, 2));
		CHECK(!put(s, image(5), 0xa, 1));
		CHECK(!client_begin(s, image(6), 0xa, SIZE, 1));
		CHECK(blob_files() == 7);
		if (n == 0) {
			CHECK(!client_abort(s));
		} else if (n == 1) {
			CHECK(!load(s, 1));
		} else {
			other = client_open();
			CHECK(!load(other, 1) && !commit(other, 2));
			CHECK(commit(s, 2) == TEE_ERROR_BAD_STATE);
			client_close(other);
		}
		CHECK(blob_files() == 4);
	}
	CHECK(!put(s, image(4), 0xa, 1));
	client_close(s);
	CHECK(blob_files() == 4);
	s = client_open();
	CHECK(!load(s, 2));
	CHECK(!put(s, image(1), 0xa, 2));
	CHECK(!remove_blob(s, image(2), 3));
	CHECK(blob_files() == 3);
	/* An image that is opened again and again takes no new numbers */
	for (n = 0; n < 100; n++)
		CHECK(!client_begin(s, image(4), 0xa, SIZE, 1));
	CHECK(blob_files() == 4);
	close_fixture(s);
}

/* ---- sessions ----------------------------------------------------------- */

static void check_sessions(void)
{
	void *first = open_fixture();
	void *second = client_open();

	CHECK(commit(second, 2) == TEE_ERROR_BAD_STATE);
	CHECK(!load(second, 1));
	CHECK(!put(first, image(4), 0xa, 2));
	CHECK(!put(second, image(5), 0xa, 2));
	CHECK(!commit(second, 2));
	CHECK(commit(first, 3) == TEE_ERROR_BAD_STATE);
	CHECK(commit(first, 3) == TEE_ERROR_BAD_STATE);
	CHECK(read_blob(first, image(4), 2) == TEE_ERROR_ITEM_NOT_FOUND);
	CHECK(!read_blob(first, image(5), 2));
	CHECK(!load(first, 2));
	CHECK(!commit(first, 3));
	CHECK(commit(second, 4) == TEE_ERROR_BAD_STATE);

	/* What the first wrote is not left when the power fails */
	CHECK(!load(first, 3) && !load(second, 3));
	CHECK(!put(first, image(4), 0xa, 4));
	CHECK(!put(second, image(6), 0xa, 4));
	CHECK(!commit(second, 4));
	core_restart();
	first = client_open();
	CHECK(!load(first, 4));
	CHECK(blob_files() == 6);
	/* LOAD drops what is pending */
	CHECK(!put(first, image(7), 0xa, 5));
	CHECK(!load(first, 4));
	CHECK(!commit(first, 5));
	CHECK(read_blob(first, image(7), 5) == TEE_ERROR_ITEM_NOT_FOUND);
	close_fixture(first);
}

/* ---- who loads what ----------------------------------------------------- */

static TEE_Result open_for(const TEE_UUID *ta, bool is_user_ta, bool releasing,
			   unsigned int library)
{
	struct ts_store_handle *handle = NULL;
	TEE_UUID uuid = uuid_of(library);
	TEE_Result res = TEE_SUCCESS;

	call_as(ta, is_user_ta, releasing);
	res = host_ta_store.open(&uuid, &handle);
	if (!res)
		image_close(handle);

	return res;
}

static void check_isolation(void)
{
	void *s = open_fixture();
	TEE_UUID ta = uuid_of(1);
	TEE_UUID unknown = uuid_of(9);
	struct ts_store_handle *a = NULL;
	struct ts_store_handle *b = NULL;
	uint8_t tags[2][32] = { };
	unsigned int tag_len = sizeof(tags[0]);

	CHECK(!open_for(&ta, true, false, 1));
	CHECK(!open_for(&ta, true, false, 2));
	CHECK(open_for(&ta, true, false, 3) == TEE_ERROR_ITEM_NOT_FOUND);
	CHECK(open_for(&ta, true, false, 9) == TEE_ERROR_ITEM_NOT_FOUND);
	CHECK(open_for(&ta, false, false, 1) == TEE_ERROR_ITEM_NOT_FOUND);
	CHECK(open_for(&ta, true, true, 2) == TEE_ERROR_ITEM_NOT_FOUND);
	CHECK(open_for(&unknown, true, false, 1) == TEE_ERROR_ITEM_NOT_FOUND);
	CHECK(open_for(NULL, true, false, 1) == TEE_ERROR_ITEM_NOT_FOUND);
	host_early_ta.uuid = ta;
	CHECK(open_for(&ta, true, false, 1) == TEE_ERROR_ITEM_NOT_FOUND);
	CHECK(open_for(&ta, true, false, 2) == TEE_ERROR_ITEM_NOT_FOUND);
	host_early_ta.uuid = (TEE_UUID){ .timeLow = 1 };

	/* No two loads share pages */
	CHECK(!image_open(&ta, &a) && !image_open(&ta, &b));
	CHECK(!host_ta_store.get_tag(a, tags[0], &tag_len));
	CHECK(!host_ta_store.get_tag(b, tags[1], &tag_len));
	CHECK(memcmp(tags[0], tags[1], tag_len));
	tag_len = 1;
	CHECK(host_ta_store.get_tag(a, tags[0], &tag_len) ==
	      TEE_ERROR_SHORT_BUFFER);
	CHECK(host_ta_store.read(a, NULL, NULL, SIZE + 1) ==
	      TEE_ERROR_BAD_PARAMETERS);
	CHECK(!host_ta_store.read(a, NULL, NULL, SIZE));
	CHECK(!host_ta_store.read(a, NULL, NULL, 0));
	image_close(a);
	image_close(b);
	image_close(NULL);
	close_fixture(s);
}

/* ---- what goes with an image: data, instances, libraries ---------------- */

static void store_object(unsigned int ta)
{
	struct tee_pobj po = { .uuid = uuid_of(ta), .obj_id = "o",
			       .obj_id_len = 1 };
	struct tee_file_handle *fh = NULL;

	CHECK(!ree_fs_ops.create(&po, true, NULL, 0, NULL, 0, "data", NULL, 4,
				 &fh));
	ree_fs_ops.close(&fh);
}

static bool has_object(unsigned int ta)
{
	struct tee_pobj po = { .uuid = uuid_of(ta), .obj_id = "o",
			       .obj_id_len = 1 };
	struct tee_file_handle *fh = NULL;
	TEE_Result res = ree_fs_ops.open(&po, NULL, &fh);

	ree_fs_ops.close(&fh);

	return !res;
}

static void check_data(void)
{
	const bool keeps = IS_ENABLED(CFG_OTRP_STORE_KEEP_DATA);
	void *s = open_fixture();
	unsigned int before = 0;
	unsigned int ta = 0;

	for (ta = 1; ta <= 4; ta++)
		store_object(ta);
	/* At once, and not with an update */
	before = retired;
	CHECK(!put(s, image(2), 0xa, 2));
	CHECK(!remove_blob(s, image(1), 2));
	CHECK(retired == before + 2);
	CHECK(has_object(1) == keeps && has_object(2));
	CHECK(load_image(1, 1) == TEE_ERROR_ITEM_NOT_FOUND);

	/* When no instance is left */
	running_ta = uuid_of(2);
	CHECK(!remove_blob(s, image(2), 3));
	CHECK(has_object(2));
	CHECK(load_image(2, 2) == TEE_ERROR_ITEM_NOT_FOUND);
	if (!keeps) {
		CHECK(client_begin(s, image(2), 0xa, SIZE, 1) ==
		      TEE_ERROR_BUSY);
		CHECK(!load(s, 3));
		CHECK(has_object(2));
		core_restart();
		s = client_open();
		CHECK(!load(s, 3));
		CHECK(client_begin(s, image(2), 0xa, SIZE, 1) ==
		      TEE_ERROR_BUSY);
		/* Others are not affected */
		CHECK(!put(s, image(5), 0xa, 4));
		CHECK(!commit(s, 4));
		CHECK(has_object(2) && has_object(3));
		running_ta = (TEE_UUID){ };
		CHECK(!load(s, 4));
		CHECK(!has_object(2));
		/* The tombstone is still stored: it must not take new data */
		CHECK(!put(s, image(2), 0xa, 5));
		CHECK(!commit(s, 5));
		store_object(2);
		core_restart();
		s = client_open();
		CHECK(!load(s, 5));
		CHECK(has_object(2));
	}

	/* Those of a TA that has become the image's */
	host_early_ta.uuid = uuid_of(3);
	before = retired;
	CHECK(!remove_blob(s, image(3), 6));
	CHECK(has_object(3) && retired == before);
	CHECK(read_blob(s, image(3), 1) == TEE_ERROR_ITEM_NOT_FOUND);
	/* Those of a name that is no image */
	CHECK(!remove_blob(s, data_name(1, 1), 7));
	CHECK(has_object(4));
	close_fixture(s);
}

/* Instances have the code of their libraries, too */
static void check_library_code(void)
{
	void *s = open_fixture();
	TEE_UUID ta = uuid_of(1);
	TEE_UUID other = uuid_of(3);

	/* TA 1 is loaded with library 2, then the library is replaced */
	CHECK(!open_for(&ta, true, false, 1));
	CHECK(!open_for(&ta, true, false, 2));
	retired_tas = 0;
	CHECK(!put(s, image(2), 0xa, 2));
	CHECK(!commit(s, 2));
	CHECK(retired_tas & RPMB_OBJECT(&ta));
	CHECK(!(retired_tas & RPMB_OBJECT(&other)));

	/* And removed */
	CHECK(!open_for(&ta, true, false, 1));
	CHECK(!open_for(&ta, true, false, 2));
	retired_tas = 0;
	CHECK(!remove_blob(s, image(2), 3));
	CHECK(retired_tas & RPMB_OBJECT(&ta));
	close_fixture(s);
}

/* ---- an RPMB that is reported as missing -------------------------------- */

#ifdef PLATFORM_RPMB
/*
 * The normal world puts back old files, or removes all, and reports the RPMB's
 * hash as not there: with the RPC's result, or with the result code in a frame,
 * which is looked at before the frame is authenticated.
 */
static void check_rpmb_reported_missing(void)
{
	struct disk *old = NULL;
	struct disk *empty = NULL;
	bool happened = false;
	void *s = NULL;

	new_device();
	empty = disk_copy();
	s = open_fixture();
	old = disk_copy();
	CHECK(!remove_blob(s, image(1), 2));
	CHECK(!load(s, 2));

	disk_put_back(old);
	core_restart();
	s = client_open();
	CHECK(load(s, 1) == TEE_ERROR_CORRUPT_OBJECT);
	core_restart();
	s = client_open();
	fault_arm(0, MISSES);
	/* The old state opens */
	CHECK(load(s, 1));
	fault_disarm(&happened);
	CHECK(happened);
	/* And from then on without any lie: its hash is in the RPMB */
	core_restart();
	s = client_open();
	CHECK(load(s, 1) == TEE_ERROR_CORRUPT_OBJECT);
	CHECK(load_image(1, 1));

	disk_put_back(empty);
	core_restart();
	s = client_open();
	fault_arm(0, MISSES);
	/* A new device, which makes itself another key */
	CHECK(load(s, 1) != TEE_ERROR_ITEM_NOT_FOUND);
	fault_disarm(&happened);
	CHECK(happened);
	disk_free(old);
	disk_free(empty);
	close_fixture(s);

	/*
	 * Not there yet when a TA is loaded, as long as Linux has not found the
	 * device: a store that was never committed to is what the broker makes
	 * its keys for
	 */
	close_fixture(open_fixture());
	core_restart();
	s = client_open();
	fault_arm(1, MISSES);
	CHECK(load_image(1, 1));
	fault_disarm(&happened);
	CHECK(happened);
	CHECK(!load(s, 1));
	CHECK(!load_image(1, 1));
	client_close(s);
}
#endif

/* ---- storage, heap and shared memory that are full ---------------------- */

/* Before a change or after it, and the next one succeeds */
static void check_either(void *s, uint8_t version, bool reported)
{
	TEE_Result before = load(s, version);
	TEE_Result after = load(s, version + 1);

	CHECK(!before != !after);
	if (reported)
		CHECK(!after);
	CHECK(load_image(1, !after ? 2 : 1) == TEE_SUCCESS);
	CHECK(load_image(4, 2) == (!after ? TEE_SUCCESS :
					    TEE_ERROR_ITEM_NOT_FOUND));
	CHECK(load_image(2, 1) == (!after ? TEE_ERROR_ITEM_NOT_FOUND :
					    TEE_SUCCESS));
	CHECK(!put(s, image(6), 0xa, 3));
	CHECK(!commit(s, 9));
	CHECK(!load_image(6, 3));
}

static TEE_Result change(void *s)
{
	TEE_Result res = put(s, image(4), 0xa, 2);

	if (!res)
		res = put(s, image(1), 0xa, 2);
	if (!res)
		res = remove_blob(s, image(2), 2);

	return res;
}

static size_t disk_used(void)
{
	size_t used = 0;
	size_t n = 0;

	for (n = 0; n < disk_file_count(); n++)
		if (disk_file_name(n))
			used += disk_file_size(disk_file_name(n));

	return used;
}

/* Storage is full in each place of a change */
static void check_full_storage(void)
{
	TEE_Result res = TEE_ERROR_STORAGE_NO_SPACE;
	unsigned int failed = 0;
	size_t space = 0;
	void *s = NULL;

	for (space = 0; res; space += 150) {
		s = open_fixture();
		disk_capacity = disk_used() + space;
		res = change(s);
		CHECK(!res || res == TEE_ERROR_STORAGE_NO_SPACE);
		failed += !!res;
		disk_capacity = 0;
		check_either(s, 1, !res);
		close_fixture(s);
	}
	CHECK(failed > 10);
}

/* Each allocation fails once */
static void check_full_heap(void)
{
	unsigned int failed = 0;
	unsigned int n = 0;
	TEE_Result res = TEE_SUCCESS;
	void *s = NULL;

	for (n = 1;; n++) {
		s = open_fixture();
		core_heap_failure = n;
		res = change(s);
		if (core_heap_failure)
			break;
		failed++;
		check_either(s, 1, !res);
		close_fixture(s);
	}
	core_heap_failure = 0;
	close_fixture(s);
	CHECK(failed > 20);

	failed = 0;
	for (n = 1;; n++) {
		s = open_fixture();
		client_close(s);
		core_restart();
		core_heap_failure = n;
		s = client_open();
		if (s)
			res = load(s, 1);
		if (s && !res)
			res = load_image(1, 1);
		if (core_heap_failure)
			break;
		/* Without space for a block to keep all is only slower */
		failed += !s || res;
		CHECK(res != TEE_ERROR_ITEM_NOT_FOUND);
		if (!s)
			s = client_open();
		CHECK(!load(s, 1) && !load_image(1, 1));
		close_fixture(s);
	}
	core_heap_failure = 0;
	close_fixture(s);
	CHECK(failed > 10);
}

/* The normal world shares less memory than a command requests at first */
static void check_little_shared_memory(void)
{
	void *s = NULL;

	shared_memory_largest = 8192;
	s = open_fixture();
	CHECK(!change(s));
	check_either(s, 1, true);
	close_fixture(s);

	/* Less than a write takes */
	s = open_fixture();
	core_return();
	shared_memory_largest = 4096;
	CHECK(!client_begin(s, image(4), 0xa, SIZE, 2));
	CHECK(client_write(s, content(2), SIZE) == TEE_ERROR_OUT_OF_MEMORY);
	CHECK(client_seal(s) == TEE_ERROR_BAD_STATE);
	CHECK(!load(s, 1));
	shared_memory_largest = 0;
	core_return();
	CHECK(load(s, 1) == TEE_ERROR_OUT_OF_MEMORY);
	shared_memory_largest = SIZE_MAX;
	CHECK(!load(s, 1));
	close_fixture(s);
}

/* ---- contents that are altered ------------------------------------------ */

static void write_root(size_t pos, const void *data, size_t size)
{
	struct tee_pobj po = { .uuid = PTA_OTRP_STORE_UUID, .obj_id = "root",
			       .obj_id_len = sizeof("root") };
	struct tee_file_handle *fh = NULL;

	core_restart();
	CHECK(!ree_fs_ops.open(&po, NULL, &fh));
	CHECK(!ree_fs_ops.write(fh, pos, data, NULL, size));
	ree_fs_ops.close(&fh);
}

static void check_format(void)
{
	static const uint8_t newer = 2;
	static const uint8_t present = 1;
	void *s = open_fixture();

	write_root(4, &newer, 1);
	s = client_open();
	CHECK(load(s, 1) == TEE_ERROR_CORRUPT_OBJECT);
	CHECK(client_begin(s, image(4), 0xa, SIZE, 1) ==
	      TEE_ERROR_CORRUPT_OBJECT);
	CHECK(commit(s, 2) == TEE_ERROR_CORRUPT_OBJECT);
	CHECK(read_blob(s, image(1), 1) == TEE_ERROR_CORRUPT_OBJECT);
	CHECK(load_image(1, 1) == TEE_ERROR_CORRUPT_OBJECT);
	client_close(s);
	/* It is left as it is */
	write_root(4, &present, 1);
	s = client_open();
	CHECK(!load(s, 1) && !load_image(1, 1));
	client_close(s);
	write_root(93, &present, 1);
	s = client_open();
	CHECK(load(s, 1) == TEE_ERROR_CORRUPT_OBJECT);
	close_fixture(s);
}

static const char *file_of(unsigned int blob)
{
	static char name[16];

	snprintf(name, sizeof(name), "otrp.%u", blob);

	return name;
}

static bool is_clear(size_t size)
{
	size_t n = 0;

	for (n = 0; n < size; n++)
		if (found[n])
			return false;

	return true;
}

/* An altered, cut or missing blob is lost, and nothing else */
static void check_altered_blob(void)
{
	static uint8_t file[SIZE];
	void *s = open_fixture();
	size_t size = 0;
	size_t n = 0;

	disk_read_file(file_of(0), file, SIZE);
	for (n = 0; n <= SIZE + 2; n += n < SIZE - 200 ? 97 : 1) {
		uint8_t altered[SIZE] = { };

		memcpy(altered, file, SIZE);
		if (n < SIZE)
			altered[n] ^= 0x10;
		if (n <= SIZE)
			disk_write_file(file_of(0), altered, n & 1 ? n : SIZE);
		else
			disk_remove_file(file_of(0));
		if (n == SIZE)
			continue;
		size = sizeof(found);
		memset(found, 1, sizeof(found));
		CHECK(client_read(s, image(1), found, &size) ==
		      TEE_ERROR_CORRUPT_OBJECT);
		CHECK(n > SIZE || is_clear(SIZE));
		CHECK(load_image(1, 1) == TEE_ERROR_CORRUPT_OBJECT);
	}
	CHECK(!load_image(2, 1));
	CHECK(!load(s, 1));
	CHECK(!read_blob(s, data_name(1, 1), 1));
	/* It can be replaced and removed */
	CHECK(!put(s, image(1), 0xa, 2));
	CHECK(!commit(s, 2));
	CHECK(!load_image(1, 2));
	CHECK(!remove_blob(s, image(1), 3));
	CHECK(load_image(1, 2) == TEE_ERROR_ITEM_NOT_FOUND);
	close_fixture(s);
}

static void check_altered_state(void)
{
	static uint8_t file[4096];
	const char *name = "otrp.s1";
	void *s = open_fixture();
	size_t entries = 0;
	size_t size = disk_file_size(name);
	size_t n = 0;

	disk_read_file(name, file, size);
	entries = size - RECORD_SIZE;
	for (n = 0; n < size; n++) {
		file[n] ^= 1;
		disk_write_file(name, file, size);
		file[n] ^= 1;
		core_restart();
		s = client_open();
		CHECK(load(s, 1) == TEE_ERROR_CORRUPT_OBJECT);
		CHECK(commit(s, 2) == (n < entries ? TEE_ERROR_CORRUPT_OBJECT :
						     TEE_ERROR_BAD_STATE));
		CHECK(load_image(1, 1) == (n < entries ?
					   TEE_ERROR_CORRUPT_OBJECT :
					   TEE_SUCCESS));
		close_fixture(s);
	}
	for (n = 0; n < size; n += 50) {
		disk_write_file(name, file, n);
		core_restart();
		s = client_open();
		CHECK(load(s, 1) == TEE_ERROR_CORRUPT_OBJECT);
		close_fixture(s);
	}
	disk_remove_file(name);
	core_restart();
	s = client_open();
	CHECK(load(s, 1) == TEE_ERROR_CORRUPT_OBJECT);
	CHECK(load_image(1, 1) == TEE_ERROR_CORRUPT_OBJECT);
	client_close(s);
	disk_write_file(name, file, size);
	s = client_open();
	CHECK(!load(s, 1));
	close_fixture(s);
}

/* ---- the largest store -------------------------------------------------- */

static void check_limits(void)
{
	void *s = NULL;
	size_t size = 0;
	unsigned int n = 0;

	new_device();
	s = client_open();
	CHECK(load(s, 0) == TEE_ERROR_ITEM_NOT_FOUND);
	for (n = 0; n < ENTRY_COUNT; n++) {
		CHECK(!client_put(s, image(n), 0xa, content(n), 100, n));
		if (n % 4 == 3 || n == ENTRY_COUNT - 1)
			CHECK(!client_commit(s, content(1), LONG_RECORD, NULL,
					     0));
	}
	client_close(s);
	core_restart();
	core_heap_peak = 0;
	s = client_open();
	size = LONG_RECORD;
	CHECK(!client_load(s, found, &size));
	CHECK(size == LONG_RECORD && !memcmp(found, content(1), size));
	for (n = 0; n < ENTRY_COUNT; n++) {
		size = sizeof(found);
		CHECK(!client_read(s, image(n), found, &size));
		CHECK(size == 100 && !memcmp(found, content(n), 100));
	}
	CHECK(!put(s, image(0), 0xa, 2));
	CHECK(!client_commit(s, content(2), LONG_RECORD, NULL, 0));
	printf("%d entries: %zu octets of heap, at most %zu; ", ENTRY_COUNT,
	       store_cache_size(), core_heap_peak);

	for (; n < ENTRY_COUNT_MAX; n++) {
		CHECK(!client_put(s, image(n), 0xa, content(n), 100, n));
		if (n % 4 == 3)
			CHECK(!commit(s, 3));
	}
	CHECK(!put(s, image(n), 0xa, 2));
	CHECK(commit(s, 4) == TEE_ERROR_STORAGE_NO_SPACE);
	CHECK(!load(s, 3));
	CHECK(!remove_blob(s, image(0), 5));
	CHECK(!put(s, image(n), 0xa, 2));
	CHECK(!commit(s, 6));
	CHECK(!load_image(n, 2));
	close_fixture(s);
}

/* ---- all of it ---------------------------------------------------------- */

int main(void)
{
	check_callers();
	check_parameters();
	check_begin();
	check_write();
	check_query();
	check_files();
	check_sessions();
	check_isolation();
	check_data();
	check_library_code();
#ifdef PLATFORM_RPMB
	check_rpmb_reported_missing();
#endif
	check_full_storage();
	check_full_heap();
	check_little_shared_memory();
	check_format();
	check_altered_blob();
	check_altered_state();
	check_limits();
	new_device();
	printf("%u rows, %u failures\n", rows, failures);

	return failures ? 1 : 0;
}
