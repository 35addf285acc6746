import logging

# peft imports it: it warns of a kernel that it could fetch from the hub, for what `loading.REPACKING` switches off
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
