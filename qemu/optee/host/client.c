// SPDX-License-Identifier: BSD-2-Clause
#include "client.h"

#include <string.h>

#include "world.h"

static const TEE_UUID broker = OTRP_BROKER_UUID;

struct name image_name(const TEE_UUID *uuid)
{
	struct name name = { { PTA_OTRP_STORE_KIND_IMAGE } };

	octets_of_uuid(name.octets + 1, uuid);

	return name;
}

struct name data_name(uint8_t kind, uint8_t number)
{
	return (struct name){ { kind, number } };
}

void *client_open(void)
{
	TEE_Param none[TEE_NUM_PARAMS] = { };
	void *session = NULL;

	call_as(&broker, true, false);
	if (host_pseudo_tas[0].open_session_entry_point(0, none, &session))
		return NULL;

	return session;
}

void client_close(void *session)
{
	host_pseudo_tas[0].close_session_entry_point(session);
}

TEE_Result invoke(void *session, uint32_t command, uint32_t types,
		  TEE_Param params[TEE_NUM_PARAMS])
{
	call_as(&broker, true, false);

	return host_pseudo_tas[0].invoke_command_entry_point(session, command,
							     types, params);
}

TEE_Result client_load(void *session, void *record, size_t *size)
{
	TEE_Param params[TEE_NUM_PARAMS] = {
		{ .memref = { record, *size } },
	};
	TEE_Result res = invoke(session, PTA_OTRP_STORE_LOAD,
				TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_OUTPUT,
						0, 0, 0), params);

	*size = params[0].memref.size;

	return res;
}

TEE_Result client_begin(void *session, struct name name, uint8_t owner,
			uint32_t size, uint32_t version)
{
	uint8_t blob[sizeof(name) + PTA_OTRP_STORE_OWNER_SIZE] = { };
	TEE_Param params[TEE_NUM_PARAMS] = {
		{ .memref = { blob, sizeof(blob) } },
		{ .value = { size, version } },
	};

	memcpy(blob, &name, sizeof(name));
	memset(blob + sizeof(name), owner, PTA_OTRP_STORE_OWNER_SIZE);

	return invoke(session, PTA_OTRP_STORE_BEGIN,
		      TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_INPUT,
				      TEE_PARAM_TYPE_VALUE_INPUT, 0, 0),
		      params);
}

TEE_Result client_write(void *session, const void *octets, size_t size)
{
	TEE_Param params[TEE_NUM_PARAMS] = {
		{ .memref = { (void *)octets, size } },
	};

	return invoke(session, PTA_OTRP_STORE_WRITE,
		      TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_INPUT, 0, 0, 0),
		      params);
}

TEE_Result client_seal(void *session)
{
	TEE_Param params[TEE_NUM_PARAMS] = { };

	return invoke(session, PTA_OTRP_STORE_SEAL, 0, params);
}

TEE_Result client_abort(void *session)
{
	TEE_Param params[TEE_NUM_PARAMS] = { };

	return invoke(session, PTA_OTRP_STORE_ABORT, 0, params);
}

TEE_Result client_put(void *session, struct name name, uint8_t owner,
		      const void *octets, size_t size, uint32_t version)
{
	/* Not a multiple of what a cipher takes at once */
	size_t first = size / 3;
	TEE_Result res = client_begin(session, name, owner, size, version);

	if (!res && first)
		res = client_write(session, octets, first);
	if (!res && size)
		res = client_write(session, (const uint8_t *)octets + first,
				   size - first);
	if (!res)
		res = client_seal(session);

	return res;
}

TEE_Result client_commit(void *session, const void *record, size_t size,
			 const struct name *names, size_t count)
{
	TEE_Param params[TEE_NUM_PARAMS] = {
		{ .memref = { (void *)record, size } },
		{ .memref = { (void *)names, count * sizeof(*names) } },
	};

	return invoke(session, PTA_OTRP_STORE_COMMIT,
		      TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_INPUT,
				      TEE_PARAM_TYPE_MEMREF_INPUT, 0, 0),
		      params);
}

TEE_Result client_read(void *session, struct name name, void *octets,
		       size_t *size)
{
	TEE_Param params[TEE_NUM_PARAMS] = {
		{ .memref = { &name, sizeof(name) } },
		{ .memref = { octets, *size } },
	};
	TEE_Result res = invoke(session, PTA_OTRP_STORE_READ,
				TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_INPUT,
						TEE_PARAM_TYPE_MEMREF_OUTPUT,
						0, 0), params);

	*size = params[1].memref.size;

	return res;
}

TEE_Result client_query(void *session, struct name name, uint8_t *digest,
			uint32_t *size, uint32_t *version)
{
	TEE_Param params[TEE_NUM_PARAMS] = {
		{ .memref = { &name, sizeof(name) } },
		{ .memref = { digest, PTA_OTRP_STORE_DIGEST_SIZE } },
	};
	TEE_Result res = invoke(session, PTA_OTRP_STORE_QUERY,
				TEE_PARAM_TYPES(TEE_PARAM_TYPE_MEMREF_INPUT,
						TEE_PARAM_TYPE_MEMREF_OUTPUT,
						TEE_PARAM_TYPE_VALUE_OUTPUT, 0),
				params);

	*size = params[2].value.a;
	*version = params[2].value.b;

	return res;
}

TEE_Result image_open(const TEE_UUID *uuid, struct ts_store_handle **image)
{
	call_as(uuid, true, false);

	return host_ta_store.open(uuid, image);
}

TEE_Result image_read(struct ts_store_handle *image, void *octets, size_t *size)
{
	TEE_Result res = TEE_SUCCESS;
	size_t all = 0;

	res = host_ta_store.get_size(image, &all);
	if (res)
		return res;
	if (all > *size)
		return TEE_ERROR_SHORT_BUFFER;
	*size = all;

	/* As ldelf: a head, then most of it, then what it does not need */
	res = host_ta_store.read(image, octets, NULL, all / 5);
	if (!res)
		res = host_ta_store.read(image, NULL,
					 (uint8_t *)octets + all / 5,
					 all - all / 5);

	return res;
}

void image_close(struct ts_store_handle *image)
{
	host_ta_store.close(image);
}
