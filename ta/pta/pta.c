// SPDX-License-Identifier: BSD-2-Clause
/*
 * Commands of the pseudo TA otrp_store.
 *
 * The core runs one command at a time: this pseudo TA is not concurrent.
 */

#include <assert.h>
#include <config.h>
#include <crypto/crypto.h>
#include <initcall.h>
#include <kernel/early_ta.h>
#include <kernel/pseudo_ta.h>
#include <kernel/ts_manager.h>
#include <kernel/user_access.h>
#include <kernel/user_ta.h>
#include <stdlib.h>
#include <string.h>
#include <string_ext.h>
#include <tee/uuid.h>
#include <trace.h>
#include <utee_defines.h>
#include <util.h>

#include "store.h"

#define PTA_NAME		"otrp_store.pta"

static_assert(sizeof(struct blob_name) == PTA_OTRP_STORE_NAME_SIZE);
static_assert(PTA_OTRP_STORE_DIGEST_SIZE == TEE_SHA256_HASH_SIZE);

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

	return IS_ENABLED(CFG_OTRP_STORE_TEST_CLIENT) &&
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
bool is_reserved_uuid(const TEE_UUID *uuid)
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

static bool is_image_name(const struct blob_name *name)
{
	return name->kind == PTA_OTRP_STORE_KIND_IMAGE;
}

static bool is_valid_name(const struct blob_name *name)
{
	static const struct blob_name nil_image = { PTA_OTRP_STORE_KIND_IMAGE };

	return name->kind <= PTA_OTRP_STORE_KIND_MAX &&
	       memcmp(name, &nil_image, sizeof(nil_image));
}

static TEE_Result name_from_param(struct blob_name *name,
				  const TEE_Param *param)
{
	TEE_Result res = TEE_SUCCESS;

	if (param->memref.size != sizeof(*name))
		return TEE_ERROR_BAD_PARAMETERS;
	res = copy_from_user(name, param->memref.buffer, sizeof(*name));
	if (!res && !is_valid_name(name))
		return TEE_ERROR_BAD_PARAMETERS;

	return res;
}

static void clear_memref(TEE_Param *param)
{
	if (param->memref.size)
		clear_user(param->memref.buffer, param->memref.size);
}

static TEE_Result cmd_load(struct store_session *session, uint32_t types,
			   TEE_Param params[TEE_NUM_PARAMS])
{
	const uint32_t exp_types = TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_OUTPUT,
						   TEE_PARAM_TYPE_NONE,
						   TEE_PARAM_TYPE_NONE,
						   TEE_PARAM_TYPE_NONE);
	TEE_Result res = TEE_SUCCESS;
	size_t size = 0;

	if (types != exp_types)
		return TEE_ERROR_BAD_PARAMETERS;

	size = params[0].memref.size;
	res = store_load(session, params[0].memref.buffer, &size);
	if (res && res != TEE_ERROR_SHORT_BUFFER)
		clear_memref(params);
	if (!res || res == TEE_ERROR_SHORT_BUFFER)
		params[0].memref.size = size;

	return res;
}

static TEE_Result cmd_begin(struct store_session *session, uint32_t types,
			    TEE_Param params[TEE_NUM_PARAMS])
{
	const uint32_t exp_types = TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_INPUT,
						   TEE_PARAM_TYPE_VALUE_INPUT,
						   TEE_PARAM_TYPE_NONE,
						   TEE_PARAM_TYPE_NONE);
	static const uint8_t no_owner[PTA_OTRP_STORE_OWNER_SIZE] = { };
	struct {
		struct blob_name name;
		uint8_t owner[PTA_OTRP_STORE_OWNER_SIZE];
	} blob = { };
	TEE_Result res = TEE_SUCCESS;
	TEE_UUID uuid = { };
	uint32_t size = 0;

	store_drop_open(session);
	if (types != exp_types || params[0].memref.size != sizeof(blob))
		return TEE_ERROR_BAD_PARAMETERS;
	res = copy_from_user(&blob, params[0].memref.buffer, sizeof(blob));
	if (res)
		return res;

	size = params[1].value.a;
	if (!is_valid_name(&blob.name) || size > INT32_MAX)
		return TEE_ERROR_BAD_PARAMETERS;
	if (is_image_name(&blob.name)) {
		if (!size)
			return TEE_ERROR_BAD_PARAMETERS;
		tee_uuid_from_octets(&uuid, blob.name.id);
		if (is_reserved_uuid(&uuid))
			return TEE_ERROR_ACCESS_CONFLICT;
	} else if (memcmp(blob.owner, no_owner, sizeof(no_owner))) {
		return TEE_ERROR_BAD_PARAMETERS;
	}

	return store_begin(session, &blob.name, blob.owner, size,
			   params[1].value.b);
}

static TEE_Result cmd_write(struct store_session *session, uint32_t types,
			    TEE_Param params[TEE_NUM_PARAMS])
{
	const uint32_t exp_types = TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_INPUT,
						   TEE_PARAM_TYPE_NONE,
						   TEE_PARAM_TYPE_NONE,
						   TEE_PARAM_TYPE_NONE);

	if (!session->open)
		return TEE_ERROR_BAD_STATE;
	if (types != exp_types || !params[0].memref.size) {
		store_drop_open(session);
		return TEE_ERROR_BAD_PARAMETERS;
	}

	return store_write(session, params[0].memref.buffer,
			   params[0].memref.size);
}

static TEE_Result cmd_seal(struct store_session *session, uint32_t types)
{
	if (!session->open)
		return TEE_ERROR_BAD_STATE;
	if (types) {
		store_drop_open(session);
		return TEE_ERROR_BAD_PARAMETERS;
	}

	return store_seal(session);
}

static TEE_Result cmd_abort(struct store_session *session, uint32_t types)
{
	store_drop_all(session);

	return types ? TEE_ERROR_BAD_PARAMETERS : TEE_SUCCESS;
}

/* Copied once: the client may share its memory */
static TEE_Result names_from_param(struct blob_name **names, size_t *count,
				   const TEE_Param *param)
{
	size_t size = param->memref.size;
	TEE_Result res = TEE_SUCCESS;
	size_t n = 0;

	if (size % sizeof(**names))
		return TEE_ERROR_BAD_PARAMETERS;
	if (!size)
		return TEE_SUCCESS;

	*names = malloc(size);
	if (!*names)
		return TEE_ERROR_OUT_OF_MEMORY;
	res = copy_from_user(*names, param->memref.buffer, size);
	if (res)
		return res;

	*count = size / sizeof(**names);
	for (n = 0; n < *count; n++)
		if (!is_valid_name(*names + n))
			return TEE_ERROR_BAD_PARAMETERS;

	return TEE_SUCCESS;
}

static TEE_Result cmd_commit(struct store_session *session, uint32_t types,
			     TEE_Param params[TEE_NUM_PARAMS])
{
	const uint32_t exp_types = TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_INPUT,
						   TEE_PARAM_TYPE_MEMREF_INPUT,
						   TEE_PARAM_TYPE_NONE,
						   TEE_PARAM_TYPE_NONE);
	TEE_Result res = TEE_ERROR_BAD_PARAMETERS;
	struct blob_name *names = NULL;
	size_t name_count = 0;

	if (types == exp_types && params[0].memref.size &&
	    params[0].memref.size <= PTA_OTRP_STORE_RECORD_MAX)
		res = names_from_param(&names, &name_count, params + 1);
	if (res)
		store_drop_all(session);
	else
		res = store_commit(session, params[0].memref.buffer,
				   params[0].memref.size, names, name_count);
	free(names);

	return res;
}

/* Reads and authenticates a blob, for its octets or its digest */
static TEE_Result read_blob(const struct entry *entry, int fd, void *hash_ctx,
			    void *user)
{
	struct transfer transfer = { };
	struct cipher cipher = { };
	TEE_Result res = TEE_SUCCESS;

	res = cipher_init(&cipher, TEE_MODE_DECRYPT, entry->key, MESSAGE_FIRST,
			  entry->size);
	if (!res)
		res = transfer_init(&transfer, fd, 0, entry->size);
	if (!res)
		res = transfer_read(&transfer, &cipher, hash_ctx, NULL, user,
				    entry->size);
	if (!res)
		res = cipher_check(&cipher, entry->tag);
	transfer_final(&transfer);
	cipher_free(&cipher);

	return res;
}

static TEE_Result cmd_read(uint32_t types, TEE_Param params[TEE_NUM_PARAMS])
{
	const uint32_t exp_types = TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_INPUT,
						   TEE_PARAM_TYPE_MEMREF_OUTPUT,
						   TEE_PARAM_TYPE_NONE,
						   TEE_PARAM_TYPE_NONE);
	TEE_Result res = TEE_SUCCESS;
	struct blob_name name = { };
	struct entry entry = { };
	int fd = -1;

	if (types != exp_types)
		return TEE_ERROR_BAD_PARAMETERS;
	res = name_from_param(&name, params);
	if (res)
		return res;
	res = store_open(&name, &entry, &fd);
	if (res)
		return res;

	if (params[1].memref.size < entry.size) {
		res = TEE_ERROR_SHORT_BUFFER;
	} else {
		res = read_blob(&entry, fd, NULL, params[1].memref.buffer);
		if (res)
			clear_memref(params + 1);
	}
	if (!res || res == TEE_ERROR_SHORT_BUFFER)
		params[1].memref.size = entry.size;
	file_close(fd);
	memzero_explicit(&entry, sizeof(entry));

	return res;
}

static TEE_Result digest_blob(const struct entry *entry, int fd,
			      uint8_t *digest)
{
	TEE_Result res = TEE_SUCCESS;
	void *hash_ctx = NULL;

	res = crypto_hash_alloc_ctx(&hash_ctx, TEE_ALG_SHA256);
	if (res)
		return res;
	res = crypto_hash_init(hash_ctx);
	if (!res)
		res = read_blob(entry, fd, hash_ctx, NULL);
	if (!res)
		res = crypto_hash_final(hash_ctx, digest,
					PTA_OTRP_STORE_DIGEST_SIZE);
	crypto_hash_free_ctx(hash_ctx);

	return res;
}

static TEE_Result cmd_query(uint32_t types, TEE_Param params[TEE_NUM_PARAMS])
{
	const uint32_t exp_types = TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_INPUT,
						   TEE_PARAM_TYPE_MEMREF_OUTPUT,
						   TEE_PARAM_TYPE_VALUE_OUTPUT,
						   TEE_PARAM_TYPE_NONE);
	uint8_t digest[PTA_OTRP_STORE_DIGEST_SIZE] = { };
	TEE_Result res = TEE_SUCCESS;
	struct blob_name name = { };
	struct entry entry = { };
	int fd = -1;

	if (types != exp_types)
		return TEE_ERROR_BAD_PARAMETERS;
	res = name_from_param(&name, params);
	if (res)
		return res;
	if (params[1].memref.size < sizeof(digest)) {
		params[1].memref.size = sizeof(digest);
		return TEE_ERROR_SHORT_BUFFER;
	}
	res = store_open(&name, &entry, &fd);
	if (res)
		return res;

	res = digest_blob(&entry, fd, digest);
	if (!res)
		res = copy_to_user(params[1].memref.buffer, digest,
				   sizeof(digest));
	if (!res) {
		params[1].memref.size = sizeof(digest);
		params[2].value.a = entry.size;
		params[2].value.b = entry.version;
	}
	file_close(fd);
	memzero_explicit(&entry, sizeof(entry));

	return res;
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

	store_drop_all(sess_ctx);
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
	case PTA_OTRP_STORE_LOAD:
		return cmd_load(session, types, params);
	case PTA_OTRP_STORE_BEGIN:
		return cmd_begin(session, types, params);
	case PTA_OTRP_STORE_WRITE:
		return cmd_write(session, types, params);
	case PTA_OTRP_STORE_SEAL:
		return cmd_seal(session, types);
	case PTA_OTRP_STORE_ABORT:
		return cmd_abort(session, types);
	case PTA_OTRP_STORE_COMMIT:
		return cmd_commit(session, types, params);
	case PTA_OTRP_STORE_READ:
		return cmd_read(types, params);
	case PTA_OTRP_STORE_QUERY:
		return cmd_query(types, params);
	default:
		return TEE_ERROR_NOT_IMPLEMENTED;
	}
}

#ifdef CFG_OTRP_STORE_TEST_CLIENT
static TEE_Result warn_of_test_client(void)
{
	EMSG("WARNING: %pUl may install TAs without the broker; not for production",
	     (void *)&conformance_uuid);

	return TEE_SUCCESS;
}

service_init(warn_of_test_client);
#endif

pseudo_ta_register(.uuid = PTA_OTRP_STORE_UUID, .name = PTA_NAME,
		   .flags = PTA_DEFAULT_FLAGS,
		   .open_session_entry_point = open_session,
		   .close_session_entry_point = close_session,
		   .invoke_command_entry_point = invoke_command);
