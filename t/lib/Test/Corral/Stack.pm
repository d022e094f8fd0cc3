package Test::Corral::Stack;

# The whole of Corral for one test: corrald with its embedded Redis, and nginx
# that follows it.  new() takes the nginx harness (Test::Corral) and what goes
# into corrald.yaml; start() starts both.

use warnings;
use strict;

use Exporter qw/import/;
use File::Copy qw/copy/;
use JSON::PP;

use Test::Corral;
use Test::Corral::Daemon ();
use Test::Corral::Shim qw/slurp/;

our @EXPORT = qw/slurp/;

my $AGENTS = "$Test::Corral::ROOT/deploy/agents";

sub new {
    my ($class, $t, %conf) = @_;

    my $d = Test::Corral::Daemon->new(
        gateway_url => 'ws://127.0.0.1:' . $t->port(8080)
            . '/agents/{service}', %conf);

    return bless { t => $t, d => $d }, $class;
}

sub d { $_[0]{d} }
sub t { $_[0]{t} }

# How many workers, and the places of corral_service_from.

sub start {
    my ($self, $workers, $from) = @_;

    my ($t, $d) = @$self{qw/t d/};
    my $dir = $d->dir();

    $workers //= 2;
    $from //= 'path query';
    $d->start();

    my $password = slurp("$dir/s/redis.gateway.password");
    chomp $password;

    $t->write_file_expand('nginx.conf', <<"EOF2");

%%TEST_GLOBALS%%

worker_processes  $workers;

events {
    worker_connections  4096;
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_cluster     test;
    corral_node        n1;
    corral_redis       "unix:$dir/r/redis.sock?user=gateway&password=$password";
    corral_state_file  %%TESTDIR%%/gateway.state;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from  $from;
            corral_websocket     agents;

            proxy_pass           \$corral_scheme://agents;
            proxy_http_version   1.1;
            proxy_set_header     Connection "";
            proxy_set_header     Host \$corral_host;
            proxy_buffering      off;
        }

        location = /status { corral_status; }
        location = /metrics { corral_metrics; }
    }
}
EOF2

    $t->run();

    Test::Corral::wait_for(sub {
        $workers == grep { $_->{state} eq 'serving' } $self->workers()
    }, 10) or die "the workers have no lease\n";

    return $self;
}

# What the API says of the nginx workers.

sub workers { @{ $_[0]{d}->api('GET', '/gateways')->{items} // [] } }

# A service of the demo echo agent; returns its running instances.  Agents do
# not run as root, and a checkout may lie where nobody else may read.

sub echo {
    my ($self, $name, $n, %doc) = @_;

    my $dir = $self->{d}->dir();

    for my $file (qw{common/corral_agent.py echo/agent.py}) {
        my ($folder) = $file =~ m{^(\w+)/};
        mkdir "$dir/$folder";
        copy("$AGENTS/$file", "$dir/$file") && chmod(0755, "$dir/$folder",
            "$dir/$file") == 2 or die "$dir/$file: $!\n";
    }

    $self->{d}->service(name => $name, replicas => $n,
        command => [ "$dir/echo/agent.py", '--listen', '{listen}' ],
        readiness_probe => { type => 'websocket', interval => '1s' }, %doc);

    return $self->{d}->wait_instances($name, sub {
        $n == grep { $_->{state} eq 'running' && $_->{health} eq 'healthy' } @_
    }, 30);
}

# Connections per instance, from both sources that know them.

sub counted {
    my ($self, $service) = @_;

    my %n = map { $_->{instance_id} => $_->{active} }
        map { @{ $_->{instances} } }
        grep { $_->{name} eq $service } @{ $self->{t}->status()->{services} };

    return \%n;
}

sub listed {
    my ($self, $service) = @_;

    my %n;
    $n{ $_->{instance_id} }++ for grep { $_->{service} eq $service }
        @{ $self->{d}->api('GET', '/connections?limit=1000')->{items} // [] };

    return \%n;
}

sub finish {
    my ($self) = @_;

    $self->{t}->close_clients();
    $self->{d}->finish();
}


1;
