// From a cohort to the report with Nextflow:
//
//   nextflow run examples/cluster/main.nf --cohort $PWD/my/cohort.yaml --store $PWD/my/store --run $PWD/runs/first --shares 16
//
// Paths are absolute: every process works in a folder of its own, and all see the shared one. Set process.executor = 'slurm'
// in nextflow.config for a cluster.
nextflow.enable.dsl = 2

params.cohort = null
params.store = null
params.run = null
params.shares = 4

process share {
    cpus 2
    memory '16 GB'
    time '8 h'
    errorStrategy 'retry'
    maxRetries 2

    input:
    val number

    output:
    val number

    script:
    """
    OMP_NUM_THREADS=${task.cpus} genebrain embed cohort.path=${params.cohort} store=${params.store} engine=array shard=next
    """
}

process align {
    cpus 4
    memory '32 GB'
    time '8 h'

    input:
    val numbers

    output:
    val params.run

    script:
    """
    export OMP_NUM_THREADS=${task.cpus}
    genebrain embed cohort.path=${params.cohort} store=${params.store}
    genebrain fit cohort.path=${params.cohort} store=${params.store} run=${params.run}
    genebrain evaluate run=${params.run}
    genebrain report run=${params.run}
    """
}

workflow {
    share(Channel.of(1..params.shares)).collect() | align | view
}
