// SPDX-License-Identifier: BSD-2-Clause
/*
 * The TAs around the store: who calls it, which of them run or are retired.
 */
#include "world.h"

#include <kernel/early_ta.h>
#include <kernel/tee_ta_manager.h>
#include <string.h>
#include <tee/uuid.h>

static struct tee_ta_ctx caller;
static struct ts_session caller_session;
static bool has_caller;
TEE_UUID running_ta;
unsigned int retired;
uint32_t retired_tas;
struct embedded_ts host_early_ta;

void call_as(const TEE_UUID *uuid, bool is_user_ta, bool is_releasing)
{
	has_caller = uuid;
	if (uuid)
		caller.ts_ctx.uuid = *uuid;
	caller.ts_ctx.is_user_ta = is_user_ta;
	caller.is_releasing = is_releasing;
	caller_session.ctx = &caller.ts_ctx;
}

struct ts_session *ts_get_calling_session(void)
{
	return has_caller ? &caller_session : NULL;
}

struct ts_session *ts_get_current_session_may_fail(void)
{
	return ts_get_calling_session();
}

void tee_ta_retire(const TEE_UUID *uuid)
{
	retired++;
	retired_tas |= RPMB_OBJECT(uuid);
}

bool tee_ta_has_instance(const TEE_UUID *uuid)
{
	return !memcmp(uuid, &running_ta, sizeof(*uuid));
}

void octets_of_uuid(uint8_t *octets, const TEE_UUID *uuid)
{
	tee_uuid_to_octets(octets, uuid);
}
