# Built into the core with CFG_OTRP_TA_STORE=y; README.md says how to add it to a tree.
srcs-$(CFG_OTRP_TA_STORE) += otrp_ta_store.c

ifeq ($(CFG_OTRP_TA_STORE),y)
ifneq ($(CFG_SECSTOR_TA),y)
$(error CFG_OTRP_TA_STORE=y needs the TA database: CFG_SECSTOR_TA=y)
endif
endif
