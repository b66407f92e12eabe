// SPDX-License-Identifier: BSD-2-Clause
/*
 * The OTrP broker's way into the TA database of secure storage.
 *
 * An entry's file holds the SHA-256 of the ELF as the entry's custom
 * properties, then the ELF. The loader (core/kernel/secstor_ta.c) skips custom
 * properties, so what runs is the ELF alone.
 *
 * A power cut leaves either the old entry or the new one: the entry in ta.db
 * is written last, in one atomic update of secure storage. It may also leave a
 * file N.ta that no entry refers to. tee_tadb_ta_create() finds file numbers by
 * looking at the entries only, so the next installation reuses the number and
 * overwrites the file.
 */

#include <assert.h>
#include <config.h>
#include <crypto/crypto.h>
#include <initcall.h>
#include <kernel/early_ta.h>
#include <kernel/nv_counter.h>
#include <kernel/pseudo_ta.h>
#include <kernel/tee_ta_manager.h>
#include <kernel/ts_manager.h>
#include <kernel/user_access.h>
#include <kernel/user_ta.h>
#include <stdlib.h>
#include <string.h>
#include <string_ext.h>
#include <tee/tadb.h>
#include <tee/tee_fs.h>
#include <tee/tee_svc_storage.h>
#include <tee/uuid.h>
#include <tee_api_defines_extensions.h>
#include <trace.h>
#include <utee_defines.h>
#include <util.h>

#include "otrp_ta_store.h"

#define PTA_NAME		"otrp_ta_store.pta"

/*
 * Every write to the database is a remote procedure call to the normal world,
 * so the fewer the better. tee_tadb_ta_write() itself writes up to 64 KiB at
 * once. The core heap of some platforms is no larger than that: take what can
 * be had, but not less than a page.
 */
#define CHUNK_SIZE_MAX		(64U * 1024)
#define CHUNK_SIZE_MIN		(4U * 1024)

static_assert(PTA_OTRP_TA_STORE_DIGEST_SIZE == TEE_SHA256_HASH_SIZE);
static_assert(PTA_OTRP_TA_STORE_UUID_SIZE == sizeof(TEE_UUID));
static_assert(PTA_OTRP_TA_STORE_DIGEST_SIZE <= CHUNK_SIZE_MIN);

/*
 * struct transaction - a TA that is being written
 * @ta:		Handle of the TA database
 * @uuid:	What it is installed under
 * @hash_ctx:	SHA-256 of the ELF so far
 * @digest:	The SHA-256 it must come to
 * @remaining:	Bytes of the ELF that are still to come
 * @chunk_size:	Size of @chunk
 * @chunk_used:	Bytes in @chunk that are hashed but not written yet
 * @chunk:	Buffer of the core: the client may share its memory with the
 *		normal world, so it is read once, and what is hashed is what
 *		is written.
 */
struct transaction {
	struct tee_tadb_ta_write *ta;
	TEE_UUID uuid;
	void *hash_ctx;
	uint8_t digest[PTA_OTRP_TA_STORE_DIGEST_SIZE];
	size_t remaining;
	size_t chunk_size;
	size_t chunk_used;
	uint8_t *chunk;
};

/* struct store_session - a client's session, with its open transaction if any */
struct store_session {
	struct transaction *transaction;
};

static const TEE_UUID broker_uuid = OTRP_BROKER_UUID;
static const TEE_UUID conformance_uuid = OTRP_CONFORMANCE_UUID;

static bool uuid_equal(const TEE_UUID *a, const TEE_UUID *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static bool is_client_uuid(const TEE_UUID *uuid)
{
	if (uuid_equal(uuid, &broker_uuid))
		return true;

	return IS_ENABLED(CFG_OTRP_TA_STORE_TEST_CLIENT) &&
	       uuid_equal(uuid, &conformance_uuid);
}

/*
 * The normal world has no calling session, so it never gets past this. The
 * UUID of a user TA's context is the one its signed image was loaded under.
 */
static bool caller_is_client(void)
{
	struct ts_session *s = ts_get_calling_session();

	return s && is_user_ta_ctx(s->ctx) && is_client_uuid(&s->ctx->uuid);
}

/* TAs of the image take precedence when a session is opened, or must stay */
static bool is_reserved_uuid(const TEE_UUID *uuid)
{
	const struct pseudo_ta_head *pta = NULL;
	const struct embedded_ts *early_ta = NULL;

	if (is_client_uuid(uuid))
		return true;

	SCATTERED_ARRAY_FOREACH(pta, pseudo_tas, struct pseudo_ta_head)
		if (uuid_equal(uuid, &pta->uuid))
			return true;

	for_each_early_ta(early_ta)
		if (uuid_equal(uuid, &early_ta->uuid))
			return true;

	return false;
}

static TEE_Result uuid_from_octets(TEE_UUID *uuid, const uint8_t *octets)
{
	static const TEE_UUID nil_uuid = { };

	tee_uuid_from_octets(uuid, octets);
	if (uuid_equal(uuid, &nil_uuid))
		return TEE_ERROR_BAD_PARAMETERS;

	return TEE_SUCCESS;
}

static TEE_Result uuid_from_param(TEE_UUID *uuid, const TEE_Param *param)
{
	uint8_t octets[PTA_OTRP_TA_STORE_UUID_SIZE] = { };
	TEE_Result res = TEE_SUCCESS;

	if (param->memref.size != sizeof(octets))
		return TEE_ERROR_BAD_PARAMETERS;

	res = copy_from_user(octets, param->memref.buffer, sizeof(octets));
	if (res)
		return res;

	return uuid_from_octets(uuid, octets);
}

static void transaction_free(struct transaction *t)
{
	crypto_hash_free_ctx(t->hash_ctx);
	free(t->chunk);
	free(t);
}

static void abort_transaction(struct store_session *session)
{
	struct transaction *t = session->transaction;

	if (!t)
		return;

	session->transaction = NULL;
	tee_tadb_ta_close_and_delete(t->ta);
	transaction_free(t);
}

static uint8_t *alloc_chunk(size_t *size)
{
	uint8_t *chunk = NULL;
	size_t sz = 0;

	for (sz = CHUNK_SIZE_MAX; !chunk && sz >= CHUNK_SIZE_MIN; sz /= 2) {
		chunk = malloc(sz);
		*size = sz;
	}

	return chunk;
}

static TEE_Result transaction_alloc(struct transaction **transaction,
				    const struct tee_tadb_property *property,
				    const uint8_t *digest)
{
	TEE_Result res = TEE_ERROR_OUT_OF_MEMORY;
	struct transaction *t = NULL;

	t = calloc(1, sizeof(*t));
	if (!t)
		return TEE_ERROR_OUT_OF_MEMORY;

	t->chunk = alloc_chunk(&t->chunk_size);
	if (!t->chunk)
		goto err;

	res = crypto_hash_alloc_ctx(&t->hash_ctx, TEE_ALG_SHA256);
	if (res)
		goto err;
	res = crypto_hash_init(t->hash_ctx);
	if (res)
		goto err;

	res = tee_tadb_ta_create(property, &t->ta);
	if (res)
		goto err;

	/* The custom properties come first in the file and are not hashed */
	t->uuid = property->uuid;
	memcpy(t->digest, digest, sizeof(t->digest));
	memcpy(t->chunk, digest, sizeof(t->digest));
	t->chunk_used = sizeof(t->digest);
	t->remaining = property->bin_size;

	*transaction = t;
	return TEE_SUCCESS;

err:
	transaction_free(t);
	return res;
}

static TEE_Result flush_chunk(struct transaction *t)
{
	TEE_Result res = tee_tadb_ta_write(t->ta, t->chunk, t->chunk_used);

	if (!res)
		t->chunk_used = 0;
	return res;
}

static TEE_Result append(struct transaction *t, const uint8_t *src, size_t len)
{
	TEE_Result res = TEE_SUCCESS;

	if (len > t->remaining)
		return TEE_ERROR_EXCESS_DATA;

	while (len) {
		uint8_t *dst = t->chunk + t->chunk_used;
		size_t n = MIN(len, t->chunk_size - t->chunk_used);

		res = copy_from_user(dst, src, n);
		if (res)
			return res;
		res = crypto_hash_update(t->hash_ctx, dst, n);
		if (res)
			return res;

		src += n;
		len -= n;
		t->remaining -= n;
		t->chunk_used += n;
		if (t->chunk_used == t->chunk_size) {
			res = flush_chunk(t);
			if (res)
				return res;
		}
	}

	return TEE_SUCCESS;
}

static TEE_Result check_complete(struct transaction *t)
{
	uint8_t digest[PTA_OTRP_TA_STORE_DIGEST_SIZE] = { };
	TEE_Result res = TEE_SUCCESS;

	if (t->remaining)
		return TEE_ERROR_BAD_STATE;

	res = crypto_hash_final(t->hash_ctx, digest, sizeof(digest));
	if (res)
		return res;
	if (consttime_memcmp(digest, t->digest, sizeof(digest)))
		return TEE_ERROR_SECURITY;

	return TEE_SUCCESS;
}

static TEE_Result cmd_begin(struct store_session *session, uint32_t types,
			    TEE_Param params[TEE_NUM_PARAMS])
{
	const uint32_t exp_types = TEE_PARAM_TYPES(TEE_PARAM_TYPE_VALUE_INPUT,
						   TEE_PARAM_TYPE_MEMREF_INPUT,
						   TEE_PARAM_TYPE_NONE,
						   TEE_PARAM_TYPE_NONE);
	struct tee_tadb_property property = {
		.custom_size = PTA_OTRP_TA_STORE_DIGEST_SIZE,
	};
	struct {
		uint8_t uuid[PTA_OTRP_TA_STORE_UUID_SIZE];
		uint8_t digest[PTA_OTRP_TA_STORE_DIGEST_SIZE];
	} name = { };
	TEE_Result res = TEE_SUCCESS;
	uint32_t file_size = 0;

	if (types != exp_types)
		return TEE_ERROR_BAD_PARAMETERS;

	abort_transaction(session);

	property.bin_size = params[0].value.a;
	property.version = params[0].value.b;
	/* The TA database adds the two in 32 bits */
	if (!property.bin_size ||
	    ADD_OVERFLOW(property.bin_size, property.custom_size, &file_size))
		return TEE_ERROR_BAD_PARAMETERS;

	if (params[1].memref.size != sizeof(name))
		return TEE_ERROR_BAD_PARAMETERS;
	res = copy_from_user(&name, params[1].memref.buffer, sizeof(name));
	if (res)
		return res;
	res = uuid_from_octets(&property.uuid, name.uuid);
	if (res)
		return res;
	if (is_reserved_uuid(&property.uuid))
		return TEE_ERROR_ACCESS_CONFLICT;

	return transaction_alloc(&session->transaction, &property, name.digest);
}

static TEE_Result cmd_write(struct store_session *session, uint32_t types,
			    TEE_Param params[TEE_NUM_PARAMS])
{
	const uint32_t exp_types = TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_INPUT,
						   TEE_PARAM_TYPE_NONE,
						   TEE_PARAM_TYPE_NONE,
						   TEE_PARAM_TYPE_NONE);
	TEE_Result res = TEE_ERROR_BAD_PARAMETERS;

	if (!session->transaction)
		return TEE_ERROR_BAD_STATE;

	if (types == exp_types && params[0].memref.size)
		res = append(session->transaction, params[0].memref.buffer,
			     params[0].memref.size);
	if (res)
		abort_transaction(session);

	return res;
}

static TEE_Result cmd_commit(struct store_session *session, uint32_t types)
{
	struct transaction *t = session->transaction;
	TEE_Result res = TEE_SUCCESS;

	if (!t)
		return TEE_ERROR_BAD_STATE;

	if (types)
		res = TEE_ERROR_BAD_PARAMETERS;
	if (!res)
		res = check_complete(t);
	if (!res)
		res = flush_chunk(t);
	if (res) {
		abort_transaction(session);
		return res;
	}

	session->transaction = NULL;
	/* Frees the handle also where it fails */
	res = tee_tadb_ta_close_and_commit(t->ta);
	/* Whatever it returns, the new code may be what loads from here on */
	tee_ta_retire(&t->uuid);
	transaction_free(t);

	return res;
}

static TEE_Result cmd_delete(uint32_t types, TEE_Param params[TEE_NUM_PARAMS])
{
	const uint32_t exp_types = TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_INPUT,
						   TEE_PARAM_TYPE_NONE,
						   TEE_PARAM_TYPE_NONE,
						   TEE_PARAM_TYPE_NONE);
	TEE_Result res = TEE_SUCCESS;
	TEE_UUID uuid = { };

	if (types != exp_types)
		return TEE_ERROR_BAD_PARAMETERS;

	res = uuid_from_param(&uuid, params);
	if (res)
		return res;

	/*
	 * Also for a UUID that an image has taken for itself since the entry
	 * was made: it cannot load now, and must not load under a later image.
	 */
	res = tee_tadb_ta_delete(&uuid);
	if (!is_reserved_uuid(&uuid))
		tee_ta_retire(&uuid);
	if (res == TEE_ERROR_ITEM_NOT_FOUND)
		return TEE_SUCCESS;

	return res;
}

/* Reads an entry to its end, where its authentication tag is checked */
static TEE_Result read_entry(struct tee_tadb_ta_read *ta, uint8_t *digest)
{
	const struct tee_tadb_property *property = tee_tadb_ta_get_property(ta);
	TEE_Result res = TEE_SUCCESS;
	size_t size = 0;

	if (property->custom_size != PTA_OTRP_TA_STORE_DIGEST_SIZE)
		return TEE_ERROR_CORRUPT_OBJECT;

	size = property->custom_size;
	res = tee_tadb_ta_read(ta, digest, NULL, &size);
	if (res)
		return res;

	size = property->bin_size;
	return tee_tadb_ta_read(ta, NULL, NULL, &size);
}

static TEE_Result cmd_query(uint32_t types, TEE_Param params[TEE_NUM_PARAMS])
{
	const uint32_t exp_types = TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_INPUT,
						   TEE_PARAM_TYPE_MEMREF_OUTPUT,
						   TEE_PARAM_TYPE_VALUE_OUTPUT,
						   TEE_PARAM_TYPE_NONE);
	uint8_t digest[PTA_OTRP_TA_STORE_DIGEST_SIZE] = { };
	const struct tee_tadb_property *property = NULL;
	struct tee_tadb_ta_read *ta = NULL;
	TEE_Result res = TEE_SUCCESS;
	TEE_UUID uuid = { };

	if (types != exp_types)
		return TEE_ERROR_BAD_PARAMETERS;

	res = uuid_from_param(&uuid, params);
	if (res)
		return res;

	if (params[1].memref.size < sizeof(digest)) {
		params[1].memref.size = sizeof(digest);
		return TEE_ERROR_SHORT_BUFFER;
	}

	res = tee_tadb_ta_open(&uuid, &ta);
	if (res)
		return res;

	res = read_entry(ta, digest);
	if (!res)
		res = copy_to_user(params[1].memref.buffer, digest,
				   sizeof(digest));
	if (!res) {
		property = tee_tadb_ta_get_property(ta);
		params[1].memref.size = sizeof(digest);
		params[2].value.a = property->bin_size;
		params[2].value.b = property->version;
	}
	tee_tadb_ta_close(ta);

	if (res == TEE_ERROR_MAC_INVALID)
		return TEE_ERROR_CORRUPT_OBJECT;

	return res;
}

/* Opens the storage's directory; for its client, which may have no object yet */
static TEE_Result open_storage(void)
{
	const struct tee_file_operations *ops = NULL;
	struct tee_fs_dir *dir = NULL;
	TEE_Result res = TEE_SUCCESS;

	ops = tee_svc_storage_file_ops(TEE_STORAGE_PRIVATE);
	if (!ops)
		return TEE_ERROR_STORAGE_NOT_AVAILABLE;

	res = ops->opendir(&ts_get_calling_session()->ctx->uuid, &dir);
	if (!res)
		ops->closedir(dir);
	else if (res == TEE_ERROR_ITEM_NOT_FOUND)
		res = TEE_SUCCESS;

	return res;
}

static bool is_damage(TEE_Result res)
{
	switch (res) {
	case TEE_ERROR_SECURITY:
	case TEE_ERROR_MAC_INVALID:
	case TEE_ERROR_CORRUPT_OBJECT:
	case TEE_ERROR_BAD_FORMAT:
	case TEE_ERROR_NO_DATA:
		return true;
	default:
		return false;
	}
}

/* The counter rises with the first directory that is whole */
static bool nothing_was_stored(void)
{
	uint32_t counter = 0;

	return !nv_counter_get_ree_fs(&counter) && !counter;
}

static TEE_Result cmd_check(uint32_t types)
{
	TEE_Result res = TEE_SUCCESS;

	if (types)
		return TEE_ERROR_BAD_PARAMETERS;

	res = open_storage();
	/*
	 * A power cut in the first write of all leaves a directory that is not
	 * whole. Nothing is lost with it, and the core has just removed it.
	 */
	if (is_damage(res) && nothing_was_stored())
		res = open_storage();
	if (!is_damage(res))
		return res;

	EMSG("Secure storage is damaged or older than its counter: %#" PRIx32,
	     res);
	return TEE_ERROR_CORRUPT_OBJECT;
}

static TEE_Result open_session(uint32_t types,
			       TEE_Param params[TEE_NUM_PARAMS] __unused,
			       void **sess_ctx)
{
	struct store_session *session = NULL;

	if (!caller_is_client())
		return TEE_ERROR_ACCESS_DENIED;
	if (types)
		return TEE_ERROR_BAD_PARAMETERS;

	session = calloc(1, sizeof(*session));
	if (!session)
		return TEE_ERROR_OUT_OF_MEMORY;

	*sess_ctx = session;
	return TEE_SUCCESS;
}

static void close_session(void *sess_ctx)
{
	/* The core also closes a session that open_session() has refused */
	if (!sess_ctx)
		return;

	abort_transaction(sess_ctx);
	free(sess_ctx);
}

static TEE_Result invoke_command(void *sess_ctx, uint32_t cmd, uint32_t types,
				 TEE_Param params[TEE_NUM_PARAMS])
{
	struct store_session *session = sess_ctx;

	/* A session cannot change hands, but this is cheaper than to prove it */
	if (!caller_is_client())
		return TEE_ERROR_ACCESS_DENIED;

	switch (cmd) {
	case PTA_OTRP_TA_STORE_BEGIN:
		return cmd_begin(session, types, params);
	case PTA_OTRP_TA_STORE_WRITE:
		return cmd_write(session, types, params);
	case PTA_OTRP_TA_STORE_COMMIT:
		return cmd_commit(session, types);
	case PTA_OTRP_TA_STORE_ABORT:
		abort_transaction(session);
		return types ? TEE_ERROR_BAD_PARAMETERS : TEE_SUCCESS;
	case PTA_OTRP_TA_STORE_DELETE:
		return cmd_delete(types, params);
	case PTA_OTRP_TA_STORE_QUERY:
		return cmd_query(types, params);
	case PTA_OTRP_TA_STORE_CHECK:
		return cmd_check(types);
	default:
		return TEE_ERROR_NOT_IMPLEMENTED;
	}
}

#ifdef CFG_OTRP_TA_STORE_TEST_CLIENT
static TEE_Result warn_of_test_client(void)
{
	EMSG("WARNING: %pUl may install TAs without the broker; not for production",
	     (void *)&conformance_uuid);

	return TEE_SUCCESS;
}

service_init(warn_of_test_client);
#endif

pseudo_ta_register(.uuid = PTA_OTRP_TA_STORE_UUID, .name = PTA_NAME,
		   .flags = PTA_DEFAULT_FLAGS,
		   .open_session_entry_point = open_session,
		   .close_session_entry_point = close_session,
		   .invoke_command_entry_point = invoke_command);
