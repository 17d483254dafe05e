"""A whole cluster in one process, in virtual time, from one seed.

Real: `RaftMember` with PySyncObj inside, the decision core of both replicas, the replicated state
machine, `VipHolder`, `ServiceManager`, the codecs, the plan of a stream session, and for a share of
the seeds the log in its real file. Modelled: what lies outside (`network`, `machine`, `disks`,
`kernel`, systemd), and the glue that is asyncio in the daemon (`daemon`, `data_hands`,
`fence_hands`, `barriers`, `worker` mirror `staqraft/daemon`).

    options   a seed becomes a plan: which faults, when, on whom (swarm testing)
    faults    what each kind of fault does to the world, and undoes
    hardware  fence devices, watchdogs, paused machines, wall clocks: for a third of the seeds
    aimed     faults that strike whoever leads, or at a moment (`moments`), not at an instant
    rests     a daemon that stops in order: it rests in maintenance, or says farewell
    phased    faults that strike in a phase of milliseconds
    drills    sequences that a known hazard needs, and chance brings together too seldom;
              `*_drills` have those of one subject
    upgrades  nodes of two releases, and one that is put back to the older
    world     puts the parts together, runs the plan, heals, and waits for peace
    checks    what must be true after every event; knows nothing of the workload
    pair_checks  and of a pair; `peace_checks`: what must be equal in the end;
              `data_checks`: what was promised to applications
    services  supervised ones, for a fifth of the seeds: the product's lane and manager run in a
              loop of asyncio in virtual time (`virtual_loop`); `service_*`: their faults and checks
    groups    a second group on the same hosts, for a few seeds
    planned   scheduled switchovers, failback, and a third host that has the address
    configured  what a plan says to the decision core
    trees     what is in a replica's journal, and at present not in its trees
    workload  applications that write, and ask for barriers; knows nothing of the checks
    pool      seeds over processes; one that dies or hangs is named with its seed
    runner    what many seeds came to, and a failing plan made smaller
    models    what lies outside, and which faults of it there are
    given_up  of a pair the one with the newer history is given up, and comes back
    pair      one seed in eight is two replicas without a witness, with fence devices that fail
    mutations the guards, taken out one at a time: a simulator has to be able to fail. Only a broken
              rule counts as a catch, and only if the same seed breaks none with the guard in
    guards    those of Raft, for `mutations`; `*_mutations` are others

Everything random comes from the seed: the plan from one generator, the world from another, so that
a plan with faults left out (`shrink`) still makes sense. Nothing depends on the order of a set.

True time is an integer of microseconds that no host can see. Each host has clocks of its own
(offset, drift), and the checks judge by true time. `scripts/simulate --help` says how to run it.
"""
