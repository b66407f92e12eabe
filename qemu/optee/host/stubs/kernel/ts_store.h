/* SPDX-License-Identifier: BSD-2-Clause */
/* The core's, with the one store of TAs that there is */
#include_next <kernel/ts_store.h>

#undef REGISTER_TA_STORE
#define REGISTER_TA_STORE(priority) const struct ts_store_ops host_ta_store
extern const struct ts_store_ops host_ta_store;
