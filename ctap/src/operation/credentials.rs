//! Discoverable credentials on the key.

use super::error::{Feature, OperationError};
use super::prompt::Prompt;
use crate::commands::{Metadata, Permissions, StoredCredential, StoredRelyingParty, UserEntity};
use crate::key::{CommandError, Key};
use crate::pin_protocol::Token;
use crate::status::Status;

impl Key {
    /// Discoverable credentials by relying party, and the room left; asks for the PIN first.
    pub async fn list_credentials(
        &mut self,
        prompt: &Prompt,
    ) -> Result<(Metadata, Vec<(StoredRelyingParty, Vec<StoredCredential>)>), OperationError> {
        let token = self.credentials_token(prompt).await?;
        let metadata = self.credentials_metadata(&token).await?;
        let mut all = Vec::new();
        for party in self.stored_relying_parties(&token).await? {
            let credentials = self.stored_credentials(&token, &party.id_hash).await?;
            all.push((party, credentials));
        }
        Ok((metadata, all))
    }

    /// Deletes a discoverable credential; asks for the PIN first.
    pub async fn remove_credential(
        &mut self,
        id: &[u8],
        prompt: &Prompt,
    ) -> Result<(), OperationError> {
        let token = self.credentials_token(prompt).await?;
        self.delete_credential(&token, id).await.map_err(unknown_credential)
    }

    /// Replaces the account names of a discoverable credential; asks for the PIN first. The user
    /// handle must be the credential's own.
    pub async fn rename_credential(
        &mut self,
        id: &[u8],
        user: &UserEntity,
        prompt: &Prompt,
    ) -> Result<(), OperationError> {
        // The dialect before CTAP 2.1 cannot do it.
        if self.info().options.credential_management != Some(true) {
            return Err(OperationError::Unsupported(Feature::CredentialUpdate));
        }
        let token = self.credentials_token(prompt).await?;
        self.update_user(&token, id, user).await.map_err(unknown_credential)
    }

    async fn credentials_token(&mut self, prompt: &Prompt) -> Result<Token, OperationError> {
        let options = &self.info().options;
        if options.credential_management != Some(true)
            && options.credential_management_preview != Some(true)
        {
            return Err(OperationError::Unsupported(Feature::CredentialManagement));
        }
        self.management_token(Permissions::CREDENTIAL_MANAGEMENT, prompt).await
    }
}

fn unknown_credential(error: CommandError) -> OperationError {
    match error {
        CommandError::Status(Status::NO_CREDENTIALS | Status::INVALID_CREDENTIAL) => {
            OperationError::CredentialNotFound
        }
        error => error.into(),
    }
}
