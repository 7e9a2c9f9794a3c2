{
  "variables": {
    # Made by scripts/native.sh: the static libpcap (for each system) and the source that it came from.
    "libpcap%": "<(module_root_dir)/build-libpcap"
  },
  "targets": [
    {
      "target_name": "node-pcap-native",
      "sources": [
        "addon.c",
        "addon_session.c",
        "addon_filter.c",
        "addon_exceptions.c",
        "addon_privileges.c",
        "session.c",
        "session_live.c",
        "session_file.c",
        "block.c",
        "headers.c",
        "exceptions.c",
        "judge.c",
        "pool.c",
        "file_reader.c",
        "file_pcapng.c",
        "filter.c",
        "texts.c",
        "link_type.c",
        "interfaces.c",
        "status.c",
        "failure.c"
      ],
      "include_dirs": ["."],
      "defines": ["NAPI_VERSION=8"],
      "conditions": [
        [
          "OS=='linux'",
          {
            "sources": [
              "posix/wake.c",
              "posix/input.c",
              "posix/system.c",
              "posix/friendly_name.c",
              "posix/addon_system.c",
              "linux/wake.c",
              "linux/intake.c",
              "linux/link_address.c",
              "linux/stat.c",
              "linux/privileges.c",
              "linux/system_calls.c"
            ],
            "include_dirs": ["<(libpcap)/source"],
            "defines": ["_GNU_SOURCE"],
            "cflags": ["-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fvisibility=hidden", "-ffunction-sections"],
            "libraries": ["<(libpcap)/out-linux-<(target_arch)/libpcap.a"],
            "ldflags": [
              "-Wl,--exclude-libs,ALL",
              "-Wl,--gc-sections",
              "-Wl,--as-needed",
              "-Wl,-z,relro,-z,now",
              # linux/stat.c and linux/intake.c say why.
              "-Wl,--wrap=stat,--wrap=setsockopt"
            ]
          }
        ]
      ]
    }
  ]
}
