version 1.0

# One cohort on one machine of a platform that moves files to its tasks (Terra, DNAnexus through dxCompiler):
#
#   miniwdl run examples/cluster/align.wdl cohort_archive=my_cohort.tar.gz image=genebrain:latest
#
# The archive holds a folder with cohort.yaml, whose paths are relative to it. Where tasks share no folder, the cores of one
# machine share the work out; a store that is given back can be given in again, and what it holds is not done twice.
workflow align_cohort {
    input {
        File cohort_archive
        File? store_archive
        String image
        Int cpu = 8
        Int memory_gb = 32
        Int disk_gb = 200
    }

    call align {
        input:
            cohort_archive = cohort_archive,
            store_archive = store_archive,
            image = image,
            cpu = cpu,
            memory_gb = memory_gb,
            disk_gb = disk_gb
    }

    output {
        File report = align.report
        File metrics = align.metrics
        File store = align.store
    }
}

task align {
    input {
        File cohort_archive
        File? store_archive
        String image
        Int cpu
        Int memory_gb
        Int disk_gb
    }

    command <<<
        set -euo pipefail
        mkdir -p cohort store
        tar -xf ~{cohort_archive} -C cohort --strip-components=1
        ~{if defined(store_archive) then "tar -xf " + store_archive + " -C store --strip-components=1" else "true"}
        genebrain embed cohort.path=cohort/cohort.yaml store=store engine.workers=~{cpu}
        genebrain fit cohort.path=cohort/cohort.yaml store=store run=run
        genebrain evaluate run=run
        genebrain report run=run
        tar -czf store.tar.gz store
    >>>

    output {
        File report = "run/report.html"
        File metrics = "run/metrics.json"
        File store = "store.tar.gz"
    }

    runtime {
        docker: image
        cpu: cpu
        memory: "~{memory_gb} GB"
        disks: "local-disk ~{disk_gb} SSD"
    }
}
