# nomad job run deploy/nomad.hcl
#
# The watchdog restarts the program inside the task; Nomad restarts the task once the watchdog has given up, and then
# places it elsewhere (docs/scaling.md).

job "web" {
  type = "service"

  group "web" {
    count = 2

    network {
      port "http" {
        to = 8080
      }
      port "watchdog" {
        to = 9090
      }
    }

    # After the watchdog has given up: a little on this machine, then on another one.
    restart {
      attempts = 2
      interval = "10m"
      delay    = "15s"
      mode     = "fail"
    }

    reschedule {
      delay          = "30s"
      delay_function = "exponential"
      max_delay      = "1h"
      unlimited      = true
    }

    update {
      max_parallel     = 1
      health_check     = "checks"
      min_healthy_time = "10s"
      auto_revert      = true
    }

    service {
      name     = "web"
      port     = "http"
      provider = "nomad"

      # Traffic only while all services are ready.
      check {
        name     = "ready"
        type     = "http"
        port     = "watchdog"
        path     = "/ready"
        interval = "10s"
        timeout  = "3s"
      }

      # For people. No check_restart: who is ill is the watchdog's to restart.
      check {
        name     = "health"
        type     = "http"
        port     = "watchdog"
        path     = "/health"
        interval = "10s"
        timeout  = "3s"
      }
    }

    task "web" {
      driver = "docker"

      # Longer than stop_timeout: the watchdog ends the program, not Nomad.
      kill_signal  = "SIGTERM"
      kill_timeout = "35s"

      config {
        image           = "web:1"
        ports           = ["http", "watchdog"]
        readonly_rootfs = true
        cap_drop        = ["all"]

        entrypoint = ["/watchdog"]
        args = [
          "--name=web",
          "--log=tee",
          "--stop-timeout=30s",
          "--memory-limit=auto",
          "--http=0.0.0.0:9090",
          "--termination-message=${NOMAD_ALLOC_DIR}/web-termination-message",
          "--",
          "/server",
        ]
      }

      env {
        WATCHDOG_RUNTIME_DIR = "${NOMAD_TASK_DIR}/watchdog"
        WATCHDOG_REPORT_DIR  = "${NOMAD_ALLOC_DIR}/reports"
      }

      resources {
        cpu    = 100
        memory = 256
      }
    }
  }
}
