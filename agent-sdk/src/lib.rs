//! What agent authors import: agents, clients, typed events on a Synod mesh.
