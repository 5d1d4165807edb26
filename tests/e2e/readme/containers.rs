//! The recipes that need containers: Docker, Compose, Podman, Kubernetes, and systemd in
//! a container of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::docker::*;
use crate::harness::podman::Podman;
use crate::harness::*;

/// The image that the README names in `COPY --from=`.
const RELEASED: &str = "lntu:0.2.0-amd64";

/// How long a container may take whose health is asked for every 10 s.
const SLOW: Duration = Duration::from_secs(120);

fn becomes(container: &Container, health: &str) {
    wait_within(SLOW, health, || {
        (container.inspect("{{.State.Health.Status}}") == health).then_some(())
    });
}

/// An image that holds `/lntu`, as the released one does.
fn released() -> Image {
    Image::of(
        "FROM scratch\nCOPY lntu /\nENTRYPOINT [\"/lntu\"]\n",
        &[&binaries().lntu],
    )
}

#[test]
fn what_is_released_is_checked_and_unpacked() {
    if !have_docker() {
        return;
    }
    let [script] = blocks("Get it", "sh");
    let directory = TempDir::new().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let image = released();
    let oci = directory.path().join(format!("lntu-{version}-oci.tar"));
    docker_says(&["save", "--output", oci.to_str().unwrap(), image.name()]);
    // What stands in an archive, and how its name is made, is in .ci/release.
    let name = format!("lntu-{version}-x86_64-unknown-linux-musl");
    fs::create_dir(directory.path().join(&name)).unwrap();
    fs::copy(&binaries().lntu, directory.path().join(&name).join("lntu")).unwrap();
    let prepare = format!(
        "tar -czf {name}.tar.gz {name} && rm -r {name} && sha256sum * >SHA256SUMS &&
         echo \"$(printf %064d 0)  lntu_{version}_armhf.deb\" >>SHA256SUMS"
    );
    let here = |script: &str| {
        let mut shell = shell(&format!("set -e\n{script}"));
        run(shell.current_dir(&directory))
    };
    assert!(here(&prepare).status.success());
    let got = here(script);
    assert_eq!((got.code(), &*got.stderr), (0, ""));
    assert!(
        got.stdout
            .contains(&format!("Loaded image: {}", image.name()))
    );
    assert_eq!(here("./lntu -V").lines(), [format!("lntu {version}")]);

    fs::write(&oci, "something else").unwrap();
    assert_eq!(here(script).code(), 1);
}

#[test]
fn the_first_dockerfile_makes_a_healthy_container() {
    if !have_docker() {
        return;
    }
    let [diff] = blocks("lntu", "diff");
    let lntu = released();
    let image = Image::of(
        &patched(diff).replace(RELEASED, lntu.name()),
        &[&binaries().app],
    );
    let server = image.start(&[], &["listen", "8080", "serve"]);
    becomes(&server, "healthy");
}

#[test]
fn docker_keeps_the_reason_of_a_failed_check() {
    if !have_docker() {
        return;
    }
    let [session] = blocks("A health check", "console");
    let image = Image::scratch_with(
        "HEALTHCHECK --interval=1s --retries=1 CMD [\"/lntu\", \"check\", \"*:${PORT:-8080}\"]",
    );
    let server = image.start(&[], &["/app", "listen-locally", "8080", "serve"]);
    becomes(&server, "unhealthy");
    // Docker keeps the output of each check, and ends it with another line feed.
    let once = session.replace("CONTAINER", "CONTAINER | grep . | uniq");
    assert_is_said_of(&server, &once);
}

/// Plays a transcript about this container, in which the program `app` is called `node`.
fn assert_is_said_of(container: &Container, session: &str) {
    let session = session.replace("CONTAINER", container.name());
    let session = session.replace("(node, ", "(app, ");
    assert_prints(&transcript::<1>(&session), shell);
}

#[test]
fn a_port_can_be_checked_before_traffic_is_switched() {
    if !have_docker() || !have_root() {
        return;
    }
    let [session] = blocks("See what listens", "console");
    let server = Image::scratch().start(&[], &["/app", "listen-locally", "5000", "serve"]);
    server.wait_for_line("serving");
    assert_is_said_of(&server, session);
}

/// What ECS, as Docker, and Podman execute is the list after `CMD`.
#[test]
fn health_commands_of_podman_and_ecs_need_no_shell() {
    if !have_docker() {
        return;
    }
    let [_, quadlet] = blocks("systemd and Quadlet", "ini");
    let [task] = blocks("Kubernetes, ECS, Testcontainers", "json");
    let task: Value = serde_json::from_str(task).unwrap();
    let test = &task["healthCheck"]["command"];
    let [kind, command @ ..] = &test.as_array().unwrap()[..] else {
        panic!("{task}");
    };
    assert_eq!(kind, "CMD");
    let check = format!("HEALTHCHECK --interval=1s CMD {}", Value::from(command));
    let served = "CMD [\"/app\", \"listen\", \"8080\", \"serve\"]";
    let image = Image::scratch_with(&format!("{check}\n{served}"));
    becomes(&image.start(&[], &[]), "healthy");

    let Some(podman) = Podman::find() else {
        return;
    };
    let command = quadlet
        .lines()
        .find_map(|line| line.strip_prefix("HealthCmd="));
    let image = podman.load(&Image::scratch_with(served));
    let option = format!("--health-cmd={}", command.unwrap());
    podman.says(&["create", "--network=none", "--name=app", &option, &image]);
    let inspected: Value = serde_json::from_str(&podman.says(&["inspect", "app"])).unwrap();
    assert_eq!(inspected[0]["Config"]["Healthcheck"]["Test"], *test);
}

/// A project of Docker Compose. Nothing of it is left when it is dropped.
struct Project {
    directory: TempDir,
    name: String,
}

impl Project {
    fn compose(&self, arguments: &[&str]) -> Command {
        let mut compose = Command::new("docker-compose");
        compose.args(["--project-name", &self.name]).args(arguments);
        compose.current_dir(&self.directory);
        compose
    }

    /// The id of a service's container, once it runs or has run. Compose 2 creates it long
    /// before.
    fn container(&self, service: &str) -> Option<String> {
        let project = format!("label=com.docker.compose.project={}", self.name);
        let service = format!("label=com.docker.compose.service={service}");
        let labels = [
            "ps", "--all", "--quiet", "--filter", &project, "--filter", &service,
        ];
        let states = ["--filter=status=running", "--filter=status=exited"];
        let id = docker_says(&[&labels[..], &states].concat());
        (!id.is_empty()).then_some(id)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = self
            .compose(&["down", "--volumes", "--timeout", "0"])
            .output();
    }
}

#[test]
fn compose_starts_an_application_once_an_image_that_lacks_lntu_is_healthy() {
    if !have_docker() || !have_program("services", "docker-compose") {
        return;
    }
    let [file, _] = blocks("A health check for an image you don't build", "yaml");
    let Binaries { lntu, app, .. } = binaries();
    let db = "FROM scratch\nCOPY app /\nCMD [\"/app\", \"reserve\", \"5432\", \"serve\"]\n";
    let db = Image::of(db, &[app]);
    let client = Image::scratch_with("CMD [\"/app\", \"say\", \"started\"]");
    let project = Project {
        directory: TempDir::new().unwrap(),
        name: unique_name(),
    };
    let file = file
        .replace("postgres:17", db.name())
        .replace("your/app", client.name());
    fs::write(project.directory.path().join("compose.yaml"), file).unwrap();
    fs::copy(lntu, project.directory.path().join("lntu")).unwrap();

    let up = Running::start(&mut project.compose(&["up", "--detach"]));
    let db = wait_for("the database", || project.container("db"));
    wait_for("its start", || {
        docker_says(&["logs", &db])
            .contains("serving")
            .then_some(())
    });
    let health = || docker_says(&["inspect", "--format", "{{.State.Health.Status}}", &db]);
    assert_eq!(health(), "starting");
    assert_eq!(project.container("app"), None);
    docker_says(&["kill", "--signal", "USR2", &db]);
    wait_within(SLOW, "a healthy database", || {
        (health() == "healthy").then_some(())
    });
    let up = up.finish();
    assert!(up.status.success(), "{up:?}");
    assert_eq!(health(), "healthy");
    let app = project.container("app").expect("the application");
    assert_eq!(docker_says(&["wait", &app]), "0");
    assert_eq!(docker_says(&["logs", &app]), "started");
}

#[test]
fn compose_reports_ports_beside_the_entrypoint_of_an_image() {
    if !have_docker() || !have_program("services", "docker-compose") {
        return;
    }
    let [file] = blocks("Report ports as they open and close", "yaml");
    let Binaries { lntu, app, .. } = binaries();
    let db = "FROM scratch\nENV PATH=/bin\nCOPY app /bin/docker-entrypoint.sh\n";
    let db = Image::of(db, &[app]);
    let project = Project {
        directory: TempDir::new().unwrap(),
        name: unique_name(),
    };
    let file = file
        .replace("postgres:17", db.name())
        .replace("[\"postgres\"]", "[\"listen\", \"5432\", \"serve\"]");
    fs::write(project.directory.path().join("compose.yaml"), file).unwrap();
    fs::copy(lntu, project.directory.path().join("lntu")).unwrap();
    let up = run(&mut project.compose(&["up", "--detach"]));
    assert!(up.status.success(), "{up:?}");
    let db = wait_for("the database", || project.container("db"));
    wait_for("its port", || {
        let logs = run(&mut docker(&["logs", &db]));
        logs.stderr.contains("\"tcp:*:5432\"").then_some(())
    });
}

#[test]
fn compose_lets_an_application_wait_for_a_database() {
    if !have_docker() || !have_program("services", "docker-compose") {
        return;
    }
    let [file, _] = blocks("Wait for a port", "yaml");
    let db = Image::scratch_with("CMD [\"/app\", \"reserve\", \"5432\", \"serve\"]");
    let app = Image::scratch_with("CMD [\"say\", \"started\"]");
    let project = Project {
        directory: TempDir::new().unwrap(),
        name: unique_name(),
    };
    let file = file
        .replace("postgres:17", db.name())
        .replace("your/app", app.name());
    // Compose drops the image's command with its entrypoint.
    let file = file.replace("\"/app\"]", "\"/app\", \"say\", \"started\"]");
    fs::write(project.directory.path().join("compose.yaml"), file).unwrap();
    let up = run(&mut project.compose(&["up", "--detach"]));
    assert!(up.status.success(), "{up:?}");
    let [db, app] =
        ["db", "app"].map(|service| wait_for("a container", || project.container(service)));
    assert_eq!(docker_says(&["logs", &app]), "");
    docker_says(&["kill", "--signal", "USR2", &db]);
    assert_eq!(docker_says(&["wait", &app]), "0");
    assert_eq!(docker_says(&["logs", &app]), "started");
}

#[test]
fn an_application_waits_for_its_sidecar() {
    if !have_docker() {
        return;
    }
    let [_, pod] = blocks("Wait for a port", "yaml");
    let command = pod.split_once("command: ").unwrap().1;
    let command: Vec<String> = serde_json::from_str(command).unwrap();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let image = Image::scratch();
    let proxy = image.start_server(Port::Closed, "15001");
    let app = image.start(
        &[&proxy.network()],
        &[&command[..], &["say", "started"]].concat(),
    );
    assert_eq!(app.logs().stdout, "");
    proxy.opens_its_port();
    app.wait_for_line("started");
    assert_eq!(app.status(), 0);
}

#[test]
fn compose_hands_the_program_to_an_image_that_lacks_it() {
    if !have_docker() || !have_program("services", "docker-compose") {
        return;
    }
    let [file, _] = examples("An image that you do not build");
    let db = "FROM scratch\nCOPY app /\nCMD [\"/app\", \"listen\", \"5432\", \"serve\"]\n";
    let db = Image::of(db, &[&binaries().app]);
    let lntu = released();
    let project = Project {
        directory: TempDir::new().unwrap(),
        name: unique_name(),
    };
    let file = file
        .replace("postgres:17", db.name())
        .replace(RELEASED, lntu.name());
    fs::write(project.directory.path().join("compose.yaml"), file).unwrap();
    let up = run(&mut project.compose(&["up", "--detach"]));
    assert!(up.status.success(), "{up:?}");
    let db = wait_for("the database", || project.container("db"));
    wait_within(SLOW, "a healthy database", || {
        let health = docker_says(&["inspect", "--format", "{{.State.Health.Status}}", &db]);
        (health == "healthy").then_some(())
    });
}

#[test]
fn an_image_without_a_path_waits_watches_and_becomes_its_application() {
    if !have_docker() {
        return;
    }
    let [entrypoint] = blocks("Wait for a port", "dockerfile");
    let [_, alone, ..] = examples::<4>("In a Dockerfile");
    let server = Image::scratch().start_server(Port::Closed, "5432");
    let containers = [entrypoint, alone].map(|line| {
        let image = Image::scratch_with(line);
        let application = ["say", "started", "serve", "exit", "42"];
        let container = image.start(&[&server.network()], &application);
        assert!(container.is_running());
        assert_eq!(container.logs().stdout, "");
        (container, image)
    });
    server.opens_its_port();
    for (container, _image) in &containers {
        container.wait_for_line("started");
        container.stop();
        assert_eq!(container.status(), 42);
    }
    let watched = containers[0].0.logs().stdout;
    assert!(
        watched.contains("LISTEN") && watched.contains(":5432"),
        "{watched}"
    );
}

/// What an application sees of its watcher: a child with lntu's command line, which has
/// its own within it.
#[test]
fn the_application_has_one_more_child_with_its_own_command_line_within() {
    if !have_docker() || !have_root() {
        return;
    }
    let [entrypoint] = blocks("Report ports as they open and close", "dockerfile");
    let image = Image::scratch_with(entrypoint);
    let app = ["reserve", "8080", "serve", "exit", "42"];
    for options in [&[][..], &["--init"]] {
        let container = image.start(options, &app);
        container.wait_for_line("serving");
        container.wait_for_line("\"ready\"");
        container.opens_its_port();
        container.wait_for_line("\"opened\"");
        let top = docker_says(&["top", container.name(), "-o", "pid,ppid,args"]);
        let processes = top
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let of = |program| processes.clone().find(|words| words[2] == program).unwrap();
        let (application, watcher) = (of("/app"), of("/lntu"));
        assert_eq!(watcher[1], application[0], "{top}");
        assert!(watcher.contains(&"/app"), "{top}");

        let stat = format!("/proc/{}/stat", watcher[0]);
        let pid = Pid::from_raw(watcher[0].parse().unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        wait_for("a zombie", || {
            fs::read_to_string(&stat)
                .unwrap()
                .contains(") Z ")
                .then_some(())
        });
        container.stop();
        assert_eq!(container.status(), 42, "{options:?}");
    }
}

#[test]
fn the_lines_for_a_dockerfile_make_images_that_work() {
    if !have_docker() || !have_program("services", "tini-static") {
        return;
    }
    let [checks, _, under_tini, as_ss] = examples("In a Dockerfile");
    let images = checks.lines().map(Image::scratch_with).collect::<Vec<_>>();
    let starts: [&[&str]; 2] = [
        &["/app", "listen", "8080", "serve"],
        &["/app", "bind", "53", "serve"],
    ];
    let containers = images
        .iter()
        .zip(starts)
        .map(|(image, app)| image.start(&[], app));
    let containers = containers.collect::<Vec<_>>();

    let directory = TempDir::new().unwrap();
    let tini = directory.path().join("tini");
    fs::copy("/usr/bin/tini-static", &tini).unwrap();
    let Binaries { lntu, app, .. } = binaries();
    let dockerfile = format!("FROM scratch\nCOPY tini lntu app /\n{under_tini}\n");
    let image = Image::of(&dockerfile, &[&tini, lntu, app]);
    let watched = image.start(&[], &["listen", "8080", "serve", "exit", "42"]);
    watched.wait_for_line("\"tcp:*:8080\"");
    watched.stop();
    assert_eq!(watched.status(), 42);

    let released = released();
    let copy = as_ss.replace("from=lntu", &format!("from={}", released.name()));
    let image = Image::of(&format!("FROM scratch\n{copy}\n"), &[]);
    let listed = image.run(&[&containers[0].network()], &["/usr/bin/ss", "-Hlnt"]);
    assert!(listed.lines()[0].contains("0.0.0.0:8080"), "{listed:?}");

    for container in &containers {
        becomes(container, "healthy");
    }
}

#[test]
fn the_host_lists_a_container_and_a_container_the_host() {
    if !have_docker() {
        return;
    }
    let [of_a_container, of_the_host] = examples("A container, from the host");
    let [recipes] = blocks("See what listens", "sh");
    let server = Image::scratch().start_server(Port::Open, "8080");
    for line in [of_a_container, recipes.lines().last().unwrap()] {
        let listed = run(&mut shell(&line.replace("CONTAINER", server.name())));
        let lines = listed.lines();
        assert!(lines.len() == 2 && lines[1].contains("*:8080"), "{lines:?}");
    }
    let there = listen("127.0.0.1");
    let command = of_the_host.replace("lntu ", "/lntu ");
    let command = command.split(' ').collect::<Vec<_>>();
    let listed = Image::scratch().run(&["--volume=/proc:/host/proc:ro"], &command);
    let local = format!("127.0.0.1:{} ", port_of(&there));
    assert!(listed.lines().join("\n").contains(&local), "{listed:?}");
}

/// The pod of the README, and one with the sidecar of the manual.
fn pods() -> [String; 2] {
    let [pod] = blocks("Kubernetes, ECS, Testcontainers", "yaml");
    let [containers] = examples("A Kubernetes sidecar before version 1.29");
    let head = "apiVersion: v1\nkind: Pod\nmetadata: { name: app }\nspec:\n  ";
    [
        pod.to_string(),
        head.to_string() + &containers.replace('\n', "\n  "),
    ]
}

#[test]
fn a_container_lists_the_listeners_of_all_others() {
    if !have_docker() {
        return;
    }
    let [listing] = blocks("See every container of a host", "sh");
    let image = released();
    let server = Image::scratch().start_server(Port::Open, "8080");
    let listed = run(&mut shell(&listing.replace(RELEASED, image.name())));
    let id = server.inspect("{{.Id}}");
    let of_it = |line: &&str| line.contains(":8080 ") && line.contains(&id);
    assert_eq!(listed.stdout.lines().filter(of_it).count(), 1, "{listed:?}");
    // With these capabilities it needs no other source.
    assert!(!listed.stderr.contains("setns"), "{listed:?}");
}

/// The watcher names a process of another user. Docker gives CAP_DAC_OVERRIDE by itself,
/// which is enough, too.
#[test]
fn processes_of_every_user_are_named_with_these_capabilities() {
    if !have_docker() || !have_root() {
        return;
    }
    let [listing] = blocks("See every container of a host", "sh");
    let [daemon_set] = blocks("See every container of a host", "yaml");
    let words = listing.split_ascii_whitespace();
    let caps: Vec<&str> = words.filter(|word| word.starts_with("--cap-")).collect();
    let added = caps
        .iter()
        .filter_map(|word| word.strip_prefix("--cap-add="));
    let added = added.collect::<Vec<_>>().join(", ");
    assert!(daemon_set.contains(&format!("{{ drop: [ALL], add: [{added}] }}")));

    let server = Image::scratch().start(&["--user=1000"], &["/app", "listen", "8080", "serve"]);
    server.wait_for_line("serving");
    let pid = server.inspect("{{.State.Pid}}");
    let image = released();
    let needed = ["--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE"];
    for caps in [&caps[..], &needed] {
        let unconfined = ["--pid=host", "--security-opt=apparmor=unconfined"];
        let options = [&unconfined, caps].concat();
        let watcher = image.start(&options, &["--json", "-A", "-p", "8080"]);
        watcher.wait_for_line(&format!(r#""processes":[{{"name":"app","pid":{pid},"#));
        let found = Privileges::of(watcher.inspect("{{.State.Pid}}").parse().unwrap());
        let given = image.start(&options, &["wait", "1"]);
        let given = Privileges::of(given.inspect("{{.State.Pid}}").parse().unwrap());
        assert_eq!(found, given.reduced(), "{caps:?}");
    }
}

/// Against the schemas of Kubernetes: each name is known, each value of its type.
#[test]
fn kubernetes_knows_every_field_of_the_pods() {
    let validate = repository().join("target/programs/python/bin/kubernetes-validate");
    let missing = (!validate.exists()).then(|| format!("{} is not there", validate.display()));
    if !have("programs", missing) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("pod.yaml");
    let validated = |pod: &str| {
        fs::write(&file, pod).unwrap();
        run(Command::new(&validate).arg("--strict").arg(&file))
    };
    let [daemon_set] = blocks("See every container of a host", "yaml");
    let [_, with_volume] = examples("An image that you do not build");
    let [_, with_copy] = blocks("A health check for an image you don't build", "yaml");
    let [_, with_sidecar] = blocks("Wait for a port", "yaml");
    let others = [daemon_set, with_volume, with_copy, with_sidecar].map(str::to_string);
    for pod in pods().into_iter().chain(others) {
        let said = validated(&pod);
        assert!(said.status.success(), "{pod}\n{said:?}");
        let mistyped = pod
            .replace("args:", "arg:")
            .replace("command:", "commands:");
        assert!(!validated(&mistyped).status.success());
    }
}

/// Podman 4.3 knows neither a startup probe nor a native sidecar, which is a second
/// container here, and takes an exec probe for a shell command.
#[test]
fn podman_plays_the_pods() {
    if !have_docker() {
        return;
    }
    let (Some(podman), Some(busybox)) = (Podman::find(), Image::busybox()) else {
        return;
    };
    let served = "CMD [\"/app\", \"listen\", \"8080\", \"serve\"]";
    let served = Image::of(&format!("FROM {}\n{served}\n", busybox.name()), &[]);
    let (ports, app) = (podman.load(&released()), podman.load(&served));
    for pod in pods() {
        let file = podman.0.path().join("pod.yaml");
        let pod = pod
            .replace("your/app", &app)
            .replace("your/lntu:0.2.0", &ports);
        let pod = match pod.split_once("\n  containers:") {
            Some((init, rest)) if init.contains("initContainers") => {
                let init = init.replace("initContainers", "containers");
                init.replace(", restartPolicy: Always", "") + rest
            }
            _ => pod,
        };
        fs::write(&file, &pod).unwrap();
        podman.says(&["kube", "play", "--network=none", file.to_str().unwrap()]);
        wait_for("the ports of the pod", || {
            let lines = podman.says(&["logs", "app-ports"]);
            lines.contains("\"tcp:*:8080\"").then_some(())
        });
        if pod.contains("livenessProbe") {
            podman.says(&["healthcheck", "run", "app-app"]);
            let inspected = podman.says(&["inspect", "app-app"]);
            let inspected: Value = serde_json::from_str(&inspected).unwrap();
            let test = &inspected[0]["Config"]["Healthcheck"]["Test"];
            assert_eq!(test[0], "CMD-SHELL", "{test}");
        }
        podman.remove_all();
    }
}

/// Podman 4.3 has no Quadlet, so this runs what the file says: `Notify=true` is
/// `--sdnotify=container`.
#[test]
fn podman_passes_on_that_a_container_is_ready() {
    if !have_docker() {
        return;
    }
    let Some(podman) = Podman::find() else {
        return;
    };
    let [_, in_manual] = examples("A service that is active once it listens");
    let [_, quadlet] = blocks("systemd and Quadlet", "ini");
    assert!(quadlet.starts_with(in_manual), "{in_manual}");
    let exec = quadlet.lines().find_map(|line| line.strip_prefix("Exec="));
    assert!(quadlet.contains("\nNotify=true\n"));
    let image = podman.load(&Image::scratch());
    let path = podman.0.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let mut run = podman.command(&["run", "--network=none", "--sdnotify=container", &image]);
    run.args(exec.unwrap().split(' '));
    run.args(["listen", "8080", "serve"]);
    let _container = Running::start(run.env("NOTIFY_SOCKET", &path));
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut buffer = [0; 4096];
    wait_for("READY=1", || {
        let length = manager.recv(&mut buffer).unwrap();
        buffer[..length].starts_with(b"READY=1").then_some(())
    });
}

/// systemd as process 1 of a container that has the host's libraries, and mounts control
/// groups of its own. It runs a service, `server`.
struct Systemd {
    container: Container,
    _files: TempDir,
}

impl Systemd {
    /// Runs this unit, in which the server is this script.
    fn start(service: &str, script: &str) -> Systemd {
        let files = TempDir::new().unwrap();
        let [unit, server] = ["server.service", "server"].map(|name| files.path().join(name));
        fs::write(&unit, service).unwrap();
        fs::write(&server, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).unwrap();
        let mount = |from: &Path, to: &str| format!("--volume={}:{to}:ro", from.display());
        let mut options = ["/run", "/tmp", "/etc", "/sys/fs/cgroup"]
            .map(|path| format!("--tmpfs={path}"))
            .to_vec();
        for path in ["/usr/lib", "/lib", "/lib64", "/bin/sh", "/bin/systemctl"] {
            options.push(mount(Path::new(path), path));
        }
        options.push(mount(&binaries().lntu, "/usr/bin/lntu"));
        options.push(mount(&server, "/usr/local/bin/server"));
        options.push(mount(&unit, "/etc/systemd/system/server.service"));
        let mounts = "--cap-add=SYS_ADMIN --cgroupns=private \
                      --security-opt=seccomp=unconfined --security-opt=apparmor=unconfined";
        options.extend(mounts.split(' ').map(str::to_string));
        let options = options.iter().map(String::as_str).collect::<Vec<_>>();
        let container = Image::scratch().start(
            &options,
            &["/usr/lib/systemd/systemd", "--unit=server.service"],
        );
        Systemd {
            container,
            _files: files,
        }
    }

    fn exec(&self, arguments: &[&str]) -> Finished {
        run(&mut docker(
            &[&["exec", self.container.name()], arguments].concat(),
        ))
    }

    fn systemctl(&self, arguments: &[&str]) -> Finished {
        self.exec(&[&["/bin/systemctl"], arguments].concat())
    }

    fn becomes(&self, [active, sub]: [&str; 2]) {
        let expected = format!("ActiveState={active}\nSubState={sub}\n");
        wait_for(&expected, || {
            let properties = ["show", "--property=ActiveState", "--property=SubState"];
            let shown = self
                .systemctl(&[&properties[..], &["server"]].concat())
                .stdout;
            (shown == expected).then_some(())
        });
    }

    /// Waits until the server waits for a signal. It does not listen yet.
    fn serves(&self) {
        wait_for("its server", || {
            let said = self.exec(&["/bin/sh", "-c", "read -r line </run/said && echo \"$line\""]);
            (said.stdout == "serving\n").then_some(())
        });
    }

    fn kill(&self, signal: &str) {
        let kill = ["kill", "--kill-who=main", "--signal", signal, "server"];
        assert!(self.systemctl(&kill).status.success());
    }
}

/// A server that listens once it gets SIGUSR2.
const SERVER: &str = "exec /app reserve 8080 serve >/run/said";

#[test]
fn a_systemd_service_is_active_once_it_listens_and_fails_with_its_server() {
    if !have_docker() || !have_program("services", "systemd-analyze") {
        return;
    }
    let [service] = examples("A systemd service");
    for (signal, states, status) in [
        ("USR2", ["active", "running"], "status=0"),
        ("KILL", ["failed", "failed"], "status=3"),
    ] {
        let systemd = Systemd::start(service, SERVER);
        systemd.becomes(["activating", "start-post"]);
        systemd.serves();
        systemd.kill(signal);
        systemd.becomes(states);
        let post = systemd.systemctl(&["show", "--property=ExecStartPost", "server"]);
        assert!(post.stdout.contains(status), "{post:?}");
    }
}

#[test]
fn a_service_of_type_notify_is_active_once_it_listens() {
    if !have_docker() || !have_program("services", "systemd-analyze") {
        return;
    }
    let [in_manual, _] = examples("A service that is active once it listens");
    let [service, _] = blocks("systemd and Quadlet", "ini");
    assert_eq!(service, in_manual);
    let systemd = Systemd::start(service, SERVER);
    systemd.serves();
    systemd.becomes(["activating", "start"]);
    systemd.kill("USR2");
    systemd.becomes(["active", "running"]);
    systemd.kill("KILL");
    systemd.becomes(["failed", "failed"]);
}
